"""The plan of a model's way to a board."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.distribution import distribute_plan

PLACE = {"path": "/m/a.gguf", "complete": True, "finished": True, "pointed": True, "missing_bytes": 0}
INPUTS = {"from": "localhost", "is_made": False}


@pytest.mark.parametrize(
    ("place", "manifest", "inputs", "change"),
    [
        ({}, {"sha256": "a"}, {}, False),
        ({"finished": False}, {"sha256": "a"}, {}, True),
        ({"pointed": False}, {"sha256": "a"}, {}, True),
        ({}, {}, {}, True),
        ({}, {"sha256": "a"}, {"is_made": True}, True),
    ],
)
def test_it_changes_what_is_missing_or_will_be_another(
    place: dict[str, Any], manifest: dict[str, Any], inputs: dict[str, Any], change: bool
) -> None:
    plan = distribute_plan({**PLACE, **place}, manifest, {**INPUTS, **inputs})
    assert plan["change"] is change
    assert (plan["from"], plan["manifest"]) == ("localhost", manifest)
