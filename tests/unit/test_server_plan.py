"""The plan of llama_server is made of what was found, and is as the board is after an activation."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils.server_plan import activated, file_digests, server_plan

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
    "verified": "d1",
    "previous": "d0",
    "running": "d1",
    "rollout": "r1",
    "fallback": "d1",
    "fallback_url": "http://127.0.0.1:8080",
    "serves": False,
    "change": True,
    "keys_change": True,
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
