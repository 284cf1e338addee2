"""A board that version 0.1 serves on is understood: restarted once at most, and it can be rolled back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import shown

INVENTORY = Path(__file__).resolve().parents[3] / "lab/inventory/fleet.py"
ROOT = "/var/lib/llama"


@pytest.fixture(scope="module")
def host(fleet: Any) -> Any:
    return type(fleet)(INVENTORY).host("pi-01")


@pytest.fixture(scope="module")
def play(run_playbook: Any) -> Callable[..., None]:
    """Return a function that runs a playbook of the clone on this scenario's board, and succeeds."""

    def run(name: str) -> None:
        done = run_playbook(name, inventory=INVENTORY)
        assert done.returncode == 0, shown(done.stdout)

    return run


def starts(host: Any) -> int:
    """Return how often the server was started."""
    lines = host.check_output("journalctl --unit=llama-server --output=json --no-pager")
    return int(lines.count('"MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf"'))  # systemd: a unit was started


def pointed(host: Any, pointer: str) -> str:
    """Return the ID that a pointer names, empty if there is none."""
    return str(host.run(f"basename $(readlink {ROOT}/{pointer})").stdout).strip()


@pytest.fixture(scope="module")
def upgraded(host: Any, play: Callable[..., None]) -> dict[str, Any]:
    """Rewrite the board's state, run site.yml of the clone, and return what was there before, and how many starts."""
    play("molecule/shared/old_layout.yml")
    before = {name: pointed(host, name) for name in ("current", "proven")}
    count = starts(host)
    play("site.yml")
    return {**before, "starts": starts(host) - count}


def test_it_is_restarted_once_at_most(host: Any, upgraded: dict[str, Any], asked: Any) -> None:
    assert upgraded["proven"] == upgraded["current"] != ""
    assert upgraded["starts"] <= 1
    assert asked(host, 8080) == "abcdefghijkl"


def test_its_pointers_are_renamed(host: Any, upgraded: dict[str, Any]) -> None:
    assert not host.file(f"{ROOT}/proven").exists
    assert pointed(host, "verified") == pointed(host, "current")
    assert pointed(host, "previous") == upgraded["current"] != pointed(host, "current")


def test_it_can_be_rolled_back(host: Any, upgraded: dict[str, Any], play: Callable[..., None], asked: Any) -> None:
    play("playbooks/rollback.yml")
    assert pointed(host, "current") == pointed(host, "verified") == upgraded["current"]
    assert asked(host, 8080) == "abcdefghijkl"


def test_removing_leaves_nothing(host: Any, play: Callable[..., None]) -> None:
    """The last test: after it the board is as it was."""
    play("playbooks/remove.yml")
    for path in (ROOT, "/opt/ik_llama", "/etc/systemd/system/llama-server.service", "/etc/llama-server"):
        assert not host.file(path).exists, path
    assert not host.user("llama").exists
    assert not host.service("llama-server").is_running
