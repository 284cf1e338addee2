"""A board that version 0.1 serves on is understood: restarted once at most, and it can be rolled back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from runs import shown

ROOT = "/var/lib/llama"


@pytest.fixture(scope="module")
def play(run_playbook: Any) -> Callable[..., None]:
    """Return a function that runs a playbook of the clone on this scenario's board, and succeeds."""

    def run(name: str) -> None:
        done = run_playbook(name)
        assert done.returncode == 0, shown(done.stdout)

    return run


def starts(board: Any) -> int:
    """Return how often the server was started."""
    lines = board.check_output("journalctl --unit=llama-server --output=json --no-pager")
    return int(lines.count('"MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf"'))  # systemd: a unit was started


def pointed(board: Any, pointer: str) -> str:
    """Return the ID that a pointer names, empty if there is none."""
    return str(board.run(f"basename $(readlink {ROOT}/{pointer})").stdout).strip()


@pytest.fixture(scope="module")
def upgraded(board: Any, play: Callable[..., None]) -> dict[str, Any]:
    """Rewrite the board's state, run site.yml of the clone, and return what was there before, and how many starts."""
    play("molecule/shared/old_layout.yml")
    before = {name: pointed(board, name) for name in ("current", "proven")}
    count = starts(board)
    play("site.yml")
    return {**before, "starts": starts(board) - count}


def test_it_is_restarted_once_at_most(board: Any, upgraded: dict[str, Any], asked: Any) -> None:
    assert upgraded["proven"] == upgraded["current"] != ""
    assert upgraded["starts"] <= 1
    assert asked(board, 8080) == "abcdefghijkl"


def test_its_pointers_are_renamed(board: Any, upgraded: dict[str, Any]) -> None:
    assert not board.file(f"{ROOT}/proven").exists
    assert pointed(board, "verified") == pointed(board, "current")
    assert pointed(board, "previous") == upgraded["current"] != pointed(board, "current")


def test_it_can_be_rolled_back(board: Any, upgraded: dict[str, Any], play: Callable[..., None], asked: Any) -> None:
    play("playbooks/rollback.yml")
    assert pointed(board, "current") == pointed(board, "verified") == upgraded["current"]
    assert asked(board, 8080) == "abcdefghijkl"


def test_removing_leaves_nothing(board: Any, play: Callable[..., None]) -> None:
    """The last test: after it the board is as it was."""
    play("playbooks/remove.yml")
    for path in (ROOT, "/opt/ik_llama", "/etc/systemd/system/llama-server.service", "/etc/llama-server"):
        assert not board.file(path).exists, path
    assert not board.user("llama").exists
    assert not board.service("llama-server").is_running
