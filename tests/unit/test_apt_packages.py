"""Tests of the action plugin apt_packages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.ik_llama.pi.plugins.action.apt_packages import ActionModule, own_names, provided_names
from naming import unnamed

OWN = "installed\tcurl\tcurl:arm64\nconfig-files\trsync\trsync:arm64\nnot-installed\tjq\tjq:\n"
PROVIDED = "installed\tlibcurl4 (= 8.14.1-2), libcurl.so\ninstalled\t\nconfig-files\tssh-server\n"


class Host(ActionModule):
    """The action on a host that is made up."""

    def __init__(self, args: dict[str, Any], check: bool = False, apt: list[dict[str, Any]] | None = None) -> None:
        self._task = SimpleNamespace(args=args, check_mode=check, delegate_to=None, async_val=0)
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"))
        self.apt = [{"changed": True}] if apt is None else apt
        self.asked: list[dict[str, Any]] = []
        self.rc = 0
        self.root: int | Exception = 0

    def validate_argument_spec(self, argument_spec: dict[str, Any]) -> tuple[None, dict[str, Any]]:
        return None, {**{name: option.get("default") for name, option in argument_spec.items()}, **self._task.args}

    def _low_level_execute_command(self, command: str, sudoable: bool = True) -> dict[str, Any]:
        if command == "id -u":
            if isinstance(self.root, Exception):
                raise self.root
            return {"rc": 0, "stdout": f"{self.root}\n", "stderr": ""}
        return {"rc": self.rc, "stdout": PROVIDED if "Provides" in command else OWN, "stderr": ""}

    def _execute_module(self, name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert name == "ansible.builtin.apt"
        self.asked.append(module_args)
        return dict(self.apt[len(self.asked) - 1])


def run(host: Host) -> dict[str, Any]:
    return host.run(task_vars={"inventory_hostname": "pi-01"})


def test_removed_package_with_its_configuration_is_not_installed() -> None:
    assert own_names(OWN) == {"curl", "curl:arm64"}


def test_provided_names_are_read_without_versions() -> None:
    assert provided_names(PROVIDED) == {"libcurl4", "libcurl.so"}


@pytest.mark.parametrize("check", [False, True])
def test_nothing_is_done_where_all_are_installed(check: bool) -> None:
    host = Host({"name": ["curl", "curl:arm64", "libcurl4"]}, check=check)
    result = run(host)
    assert (result["changed"], result["packages"], host.asked) == (False, [], [])


def test_nothing_is_asked_for_an_empty_list() -> None:
    assert run(Host({"name": []}))["changed"] is False


def test_only_the_missing_are_installed() -> None:
    host = Host({"name": ["curl", "rsync", "jq", "rsync"], "policy_rc_d": 101})
    result = run(host)
    assert result["changed"]
    assert result["packages"] == ["rsync", "jq"]
    assert host.asked == [
        {
            "name": ["rsync", "jq"],
            "update_cache": True,
            "update_cache_retries": 1,
            "install_recommends": False,
            "lock_timeout": 600,
            "policy_rc_d": 101,
        }
    ]


def test_check_mode_reports_what_is_missing_and_asks_no_apt() -> None:
    host = Host({"name": ["curl", "rsync"]}, check=True)
    result = run(host)
    assert (result["changed"], result["packages"], host.asked) == (True, ["rsync"], [])


def test_failed_installation_is_tried_again() -> None:
    host = Host({"name": ["jq"], "delay": 0}, apt=[{"failed": True}, {"changed": True}])
    result = run(host)
    assert (result.get("failed", False), result["attempts"]) == (False, 2)


def test_retries_end() -> None:
    host = Host({"name": ["jq"], "delay": 0, "retries": 1}, apt=[{"failed": True, "msg": "one"}] * 3)
    result = run(host)
    assert (result["failed"], result["attempts"], result["msg"]) == (True, 2, "one")


def test_a_source_that_cannot_be_read_does_not_keep_others_from_being_installed() -> None:
    host = Host({"name": ["jq"], "retries": 0}, apt=[{"failed": True, "msg": "is not signed"}, {"changed": True}])
    result = run(host)
    assert (result.get("failed", False), result["packages"]) == (False, ["jq"])
    assert [args["update_cache"] for args in host.asked] == [True, False]
    assert any("is not signed" in warning for warning in result["warnings"])


def test_where_old_lists_do_not_help_the_update_is_the_cause() -> None:
    apt = [{"failed": True, "msg": "is not signed"}, {"failed": True, "msg": "no package jq"}]
    assert run(Host({"name": ["jq"], "retries": 0}, apt=apt))["msg"] == "is not signed"


def test_host_without_apt_fails_and_names_the_packages() -> None:
    host = Host({"name": ["curl", "jq"]})
    host.rc = 66
    result = run(host)
    assert result["failed"]
    assert all(name in result["msg"] for name in ("pi-01", "curl", "jq"))
    assert not host.asked


def test_no_name_reaches_the_shell_unchecked() -> None:
    result = run(Host({"name": ["curl; reboot", "jq=1.7"]}))
    assert result["failed"]
    assert "jq=1.7" in result["msg"]


@pytest.mark.parametrize("root", [1000, AnsibleError("Missing sudo password")])
def test_a_test_says_which_packages_are_missing_where_nobody_may_install_them(root: int | Exception) -> None:
    host = Host({"name": ["curl", "rsync"], "test": True})
    assert not run(host).get("failed")
    host.root = root
    result = run(host)
    assert result["failed"]
    assert unnamed(result["msg"], "pi-01", "apt-get install rsync", "--ask-become-pass") == []
    assert host.asked == []
    assert not run(Host({"name": ["curl"], "test": True})).get("failed")
