"""The order in which a fleet changes, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from naming import unnamed


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
        {"inventory_hostname": "e"},
    ]
    results = fleet.serve_results(boards)
    assert [(name, state) for name, state, _ in results] == [
        ("a", "serves"),
        ("b", "failed"),
        ("c", "untouched"),
        ("d", "lost"),
        ("e", "untouched"),
    ]
    assert [text for _, _, text in results[:2]] == ["serves deployment 1", "deployment 1 does not serve"]
    *lines, last = fleet.serve_summary(boards).splitlines()
    texts = {name: text for name, _, text in results}
    assert lines == [f"a: {texts['a']}", f"c, e: {texts['c']}", f"d: {texts['d']}"]
    assert unnamed(last, "ansible-playbook playbooks/rollback.yml --limit a") == []


def test_where_all_went_well_or_nothing_did_there_is_nothing_to_take_back(fleet: Any) -> None:
    good, bad = {"inventory_hostname": "a", "serve_outcome": "serves"}, {"inventory_hostname": "b"}
    assert len(fleet.serve_summary([good]).splitlines()) == len(fleet.serve_summary([bad]).splitlines()) == 1
