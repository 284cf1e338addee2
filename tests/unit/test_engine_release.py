from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from naming import unnamed

BOARDS = {"ansible_play_batch": ["pi-01", "pi-02"]}


@pytest.fixture
def ask(
    plugin: Callable[[str, str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Run the action as one board does, with what the module answers then."""
    action = plugin("action", "engine_release")
    monkeypatch.setattr(action.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(action.ActionBase, "run", lambda *_: {})

    def run(answer: Any, *, task: str = "1", maker: str = "builder", root: str = "/opt", boards: Any = BOARDS) -> Any:
        asked = MagicMock(_uuid=task, delegate_to=maker, args={"root": root})
        module = action.ActionModule(asked, *[MagicMock()] * 5)
        module._execute_module = MagicMock(side_effect=[answer])
        return module.run(task_vars=boards)

    return run


def test_boards_that_want_the_same_share_the_answer(ask: Callable[..., dict[str, Any]]) -> None:
    assert ask({"key": "first"}) == {"key": "first"}
    assert ask({"key": "second"}) == {"key": "first"}


@pytest.mark.parametrize(
    "other",
    [
        {"task": "2"},
        {"maker": "other"},
        {"root": "/srv"},
        {"boards": {"ansible_play_batch": ["pi-03"]}},
        {"maker": None},
    ],
)
def test_who_asks_later_or_asks_else_gets_another(ask: Callable[..., dict[str, Any]], other: dict[str, Any]) -> None:
    assert ask({"key": "first"}) == {"key": "first"}
    assert ask({"key": "second"}, **other) == {"key": "second"}


@pytest.mark.parametrize("error", [AnsibleConnectionFailure("no route"), AnsibleError("wrong password")])
def test_a_host_that_cannot_be_asked_is_tried_once(ask: Callable[..., dict[str, Any]], error: AnsibleError) -> None:
    answer = ask(error)
    assert answer["failed"] is True
    assert unnamed(answer["msg"], "builder", error.message) == []
    assert ask({"key": "first"}) == answer


def test_a_board_that_compiles_for_itself_and_is_away_is_unreachable(ask: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        ask(AnsibleConnectionFailure("no route"), maker="pi-01", boards={**BOARDS, "inventory_hostname": "pi-01"})
