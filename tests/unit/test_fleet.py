"""The order in which a fleet changes, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def fleet(plugin: Any) -> Any:
    return plugin("filter", "fleet")


@pytest.mark.parametrize(
    ("boards", "batches"), [(0, [1]), (1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (4, [1, 1, 2]), (10, [1, 4, 5])]
)
def test_one_board_then_half_of_the_rest(fleet: Any, boards: int, batches: list[int]) -> None:
    assert fleet.rolling_batches(boards) == batches


def test_who_failed_before_the_turn_of_a_batch(fleet: Any) -> None:
    play = ["a", "b", "c"]
    said: dict[str, Any] = {"a": {"serve_outcome": "serves"}, "b": {"serve_failure": "no"}, "c": {}}
    assert fleet.rolling_failures(play, ["a"], said) == []
    assert fleet.rolling_failures(play, ["b"], said) == []
    assert fleet.rolling_failures(play, ["c"], said) == ["b"]
    assert fleet.rolling_failures(play, ["c"], {**said, "b": {}}) == ["b"]  # it went away and said nothing


def test_the_summary_has_a_line_for_each_board_that_does_not_fail_itself(fleet: Any) -> None:
    boards = [
        {"inventory_hostname": "a", "serve_outcome": "serves deployment 1"},
        {"inventory_hostname": "b", "serve_failure": "b: deployment 1 does not serve\nlog"},
        {"inventory_hostname": "c"},
        {"inventory_hostname": "d", "serve_begun": True},
    ]
    assert fleet.serve_summary(boards).splitlines() == [
        "a: serves deployment 1",
        "c: not touched, because another board failed",
        "d: went away while it was changed: see to it, and run site.yml again, which ends that",
        "To take it back where it went well: ansible-playbook playbooks/rollback.yml --limit a",
    ]
