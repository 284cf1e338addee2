"""Whose the server's account and its unit are."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.server import account
from naming import unnamed

SERVICE = {"gecos": "", "home": "/nonexistent", "shell": "/usr/sbin/nologin", "uid": 990}


def users(monkeypatch: pytest.MonkeyPatch, *found: pwd.struct_passwd, groups: tuple[str, ...] = ()) -> None:
    """Let these be the only accounts and groups."""
    by_name = {user.pw_name: user for user in found}
    monkeypatch.setattr(pwd, "getpwnam", by_name.__getitem__)
    monkeypatch.setattr(grp, "getgrnam", dict.fromkeys(groups, grp.struct_group(("x", "x", 1, []))).__getitem__)


def user(name: str = "llama", **given: Any) -> pwd.struct_passwd:
    its = {**SERVICE, **given}
    return pwd.struct_passwd((name, "x", its["uid"], its["uid"], its["gecos"], its["home"], its["shell"]))


def test_a_free_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    users(monkeypatch, user("other"), groups=("other",))
    assert account.account_owner("llama", str(tmp_path / "unit")) == ""


def test_ours_is_marked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    users(monkeypatch, user(gecos=f"{account.MARK},,,"), groups=("llama",))
    assert account.account_owner("llama", str(tmp_path / "unit")) == ""


@pytest.mark.parametrize(
    "given",
    [
        {"uid": 1000, "home": "/home/llama", "shell": "/bin/bash"},
        {"uid": 1000},
        {"home": "/var/lib/other"},
        {"shell": "/bin/sh"},
        {"gecos": "llama the second", "home": "/home/llama"},
    ],
)
def test_other_accounts_are_described(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    users(monkeypatch, user(**given), groups=("llama",))
    (tmp_path / "unit").touch()
    found = user(**given)
    owner = account.account_owner("llama", str(tmp_path / "unit"))
    assert unnamed(owner, "llama", found.pw_dir, found.pw_shell) == []


def test_an_account_without_mark_is_ours_only_where_our_unit_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    users(monkeypatch, user(), groups=("llama",))
    assert account.account_owner("llama", str(tmp_path / "unit"))
    (tmp_path / "unit").touch()
    assert account.account_owner("llama", str(tmp_path / "unit")) == ""


def test_a_group_of_that_name_is_not_taken_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    users(monkeypatch, groups=("llama",))
    assert unnamed(account.account_owner("llama", str(tmp_path / "unit")), "group", "llama") == []


OWN_UNIT = "[Service]\nWorkingDirectory={root}/current\nExecStart={root}/current/run\n"


@pytest.mark.parametrize("text", [OWN_UNIT, "[Service]\nExecStart={root}/current/run\n", ""])
def test_a_unit_that_starts_what_is_in_service_is_ours(text: str, tmp_path: Path) -> None:
    unit = tmp_path / "llama-server.service"
    unit.write_text(text.format(root=tmp_path))
    assert account.unit_owner(str(unit), str(tmp_path)) == ""


@pytest.mark.parametrize("start", ["/home/ada/llama.cpp/llama-server -m x.gguf", "/usr/bin/sleep infinity"])
def test_another_unit_of_that_name_is_described(start: str, tmp_path: Path) -> None:
    unit = tmp_path / "llama-server.service"
    unit.write_text(f"# not {tmp_path}/current\n[Service]\nExecStart={start}\n")
    assert unnamed(account.unit_owner(str(unit), str(tmp_path)), str(unit), start) == []


def test_a_unit_of_a_package_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packaged = tmp_path / "lib.service"
    packaged.write_text("[Service]\nExecStart=/usr/bin/llama-server\n")
    monkeypatch.setattr(account, "show", lambda unit, *names: {"FragmentPath": str(packaged)})
    assert unnamed(account.unit_owner(str(tmp_path / "none"), "/var/lib/llama"), str(packaged)) == []


def test_no_unit_is_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(account, "show", lambda unit, *names: {"FragmentPath": ""})
    assert account.unit_owner(str(tmp_path / "none"), "/var/lib/llama") == ""


def test_the_unit_of_a_deployment_is_ours(tmp_path: Path) -> None:
    (tmp_path / "deployments/0123").mkdir(parents=True)
    for unit in (tmp_path / "deployments/0123/llama-server.service", tmp_path / "llama-server.service"):
        unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert account.unit_owner(str(tmp_path / "llama-server.service"), str(tmp_path)) == ""
