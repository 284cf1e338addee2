"""The plan of llama_server is made of what was found, and is as the board is after an activation."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.server_plan import (
    activated,
    file_digests,
    server_plan,
    serving,
)

FOUND: dict[str, Any] = {
    "id": "d2",
    "missing": [],
    "release": "e1",
    "model": "m1",
    "arguments": [["--port", "8090"]],
    "served": {
        "url": "http://127.0.0.1:8090",
        "address": "0.0.0.0",
        "port": "8090",
        "alias": "a",
        "api_key_file": "/etc/k",
    },
    "current": "d1",
    "current_served": {"address": "0.0.0.0", "port": "8080"},
    "deployment": {"arguments": [["--port", "8080"], ["--parallel", "2"], ["--mlock"]]},
    "verified": "d1",
    "previous": "d0",
    "running": "d1",
    "rollout": "r1",
    "fallback": "d1",
    "fallback_url": "http://127.0.0.1:8080",
    "serves": False,
    "change": True,
    "keys_change": True,
    "keys_surplus": True,
    "release_manifest": {"id": "e1"},
    "model_manifest": {"types": {"a": "q8_0"}},
}


def test_a_plan_has_how_the_server_is_reached_and_no_whole_manifest() -> None:
    plan = server_plan(FOUND, {"release": "e1"})
    assert plan["inputs"] == {"release": "e1"}
    assert (plan["url"], plan["address"], plan["port"], plan["alias"]) == (
        "http://127.0.0.1:8090",
        "0.0.0.0",
        8090,
        "a",
    )
    assert not [name for name in plan if name.endswith("_manifest")]


def test_after_an_activation_there_is_nothing_to_do() -> None:
    plan = activated(server_plan(FOUND, {}), "r2")
    assert [plan[name] for name in ("current", "verified", "running", "previous")] == ["d2", "d2", "d2", "d1"]
    assert (plan["serves"], plan["change"], plan["keys_change"], plan["rollout"]) == (True, False, False, "r2")


def test_an_activation_for_other_keys_keeps_the_previous_deployment() -> None:
    plan = activated(server_plan({**FOUND, "verified": "d2", "current": "d2"}, {}), "r2")
    assert plan["previous"] == "d0"


def test_digests_of_files_leave_empty_ones_out() -> None:
    assert file_digests({"run": "a", "watchdog": ""}) == {"run": hashlib.sha256(b"a").hexdigest()}


def test_what_serves_is_what_the_deployment_in_service_says_and_not_the_variables() -> None:
    serves = serving(FOUND, "first\nsecond\n")
    assert serves == {"host": "0.0.0.0", "port": 8080, "parallel": 2, "api_keys": ["first", "second"]}
    assert serving({**FOUND, "current": ""}, "") == {}


@pytest.mark.parametrize(("keep", "surplus"), [(True, True), (False, False)])
def test_former_keys_are_there_after_an_activation_if_they_are_to_be_kept(keep: bool, surplus: bool) -> None:
    assert activated(server_plan(FOUND, {"keep_api_keys": keep}), "r2")["keys_surplus"] is surplus
