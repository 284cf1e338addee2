"""The order in which a fleet changes, and what is reported about it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils import fleet
from naming import unnamed


@pytest.mark.parametrize(
    ("boards", "sizes", "batches"),
    [
        (0, None, []),
        (1, None, [1]),
        (2, None, [1, 1]),
        (3, None, [1, 1, 1]),
        (4, None, [1, 1, 2]),
        (10, None, [1, 4, 5]),
        (5, 2, [2, 2, 1]),
        (5, "2", [2, 2, 1]),
        (10, [1, "30%"], [1, 3, 3, 3]),
        (5, "10%", [1, 1, 1, 1, 1]),
        (3, 0, [1, 1, 1]),
    ],
)
def test_one_board_then_half_of_the_rest_or_what_is_asked_for(boards: int, sizes: Any, batches: list[int]) -> None:
    names = [f"pi-{number:02}" for number in range(boards)]
    made = fleet.rolling_batches(names, sizes)
    assert [len(batch) for batch in made] == batches
    assert [name for batch in made for name in batch] == names


def test_a_play_leaves_out_hosts_whose_plan_has_no_change(plugin: Any) -> None:
    hostvars = {"a": {"pi_base_plan": {"change": True}}, "b": {"pi_base_plan": {"change": False}}, "c": {}}
    hosts_with_changes = plugin("filter", "fleet").hosts_with_changes
    assert hosts_with_changes("abc", hostvars, "pi_base_plan") == ["a", "c"]
    # Before the first play nothing is known.
    assert hosts_with_changes("abc", {}, "pi_base_plan") == ["a", "b", "c"]


def test_who_failed_before_the_turn_of_a_batch() -> None:
    play = ["a", "b", "c"]
    said: dict[str, Any] = {"a": {"serve_outcome": "serves"}, "b": {"serve_failure": "no"}, "c": {}}
    assert fleet.rolling_failures(play, ["a"], said) == []
    assert fleet.rolling_failures(play, ["b"], said) == []
    assert fleet.rolling_failures(play, ["c"], said) == ["b"]
    assert fleet.rolling_failures(play, ["c"], {**said, "b": {}}) == ["b"]  # it went away and said nothing


def test_the_summary_has_a_line_for_each_board() -> None:
    boards: list[dict[str, Any]] = [
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


def test_where_all_went_well_or_nothing_did_there_is_nothing_to_take_back() -> None:
    good: dict[str, Any]
    bad: dict[str, Any]
    good, bad = {"inventory_hostname": "a", "serve_outcome": "serves"}, {"inventory_hostname": "b"}
    assert len(fleet.serve_summary([good]).splitlines()) == len(fleet.serve_summary([bad]).splitlines()) == 1


def test_the_status_of_each_board_is_made_from_what_its_roles_published() -> None:
    deployment = {"id": "k1", "release": "e1", "model": "m1", "arguments": [], "files": {"run": "f1"}}
    status = {
        "deployment": deployment,
        "altered": [],
        "keys_change": False,
        "running": "k1",
        "verified": "k1",
        "wanted": {"arguments": [["--mlock"]], "files": {"run": "f2"}},
    }
    plans = {
        "ik_llama_install_plan": {"id": "e1", "commit": "c1"},
        "gguf_distribute_plan": {"manifest": {"sha256": "m1"}, "recipe": "card"},
    }
    facts = {"ansible_facts": {"pi_base_board": {"memory_mib": 1}}, "llama_server_status": status}
    hostvars: dict[str, dict[str, Any]] = {
        "a": {**facts, **plans},
        "b": {**facts, "status_plan_problem": "no build host"},
        "c": {"status_reached": {"unreachable": True, "msg": "no  route"}},
        "d": {"status_problem": "no root"},
    }
    good, unplanned, away, unknown = fleet.fleet_status(hostvars, hostvars)
    assert good["changes"] == ["--mlock - -> on"]
    assert good["board"] == {"memory_mib": 1}
    assert unnamed(unplanned["changes"], "no build host") == []
    assert unnamed(away["problem"], "no route") == []
    assert unnamed(unknown["problem"], "no root") == []


def test_former_keys_go_once_every_gateway_uses_a_present_one() -> None:
    digest = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"  # printf b | sha256sum
    board = {"llama_server_api_keys": ["b"], "llama_server_plan": {"keys_surplus": True}}
    hostvars: dict[str, dict[str, Any]] = {
        "pi-01": board,
        "pi-02": {**board, "llama_server_plan": {"keys_surplus": False}},
        "pi-03": {**board, "llama_server_api_keys": ["c"]},
        "pi-04": {},
        "first": {"gateway_key_digest": digest},
        "second": {"gateway_key_digest": digest},
        "away": {},
    }
    boards = ["pi-01", "pi-02", "pi-03", "pi-04"]
    assert fleet.hosts_with_former_keys(boards, hostvars, ["first", "second"]) == ["pi-01"]
    assert fleet.hosts_with_former_keys(boards, hostvars, ["first", "away"]) == []
    assert fleet.hosts_with_former_keys(boards, hostvars, []) == []
