# SPDX-License-Identifier: Apache-2.0
"""What is to be done so that a model is on a board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def distribute_plan(place: Mapping[str, Any], manifest: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan of a board; the role's README says what is in it.

    Args:
        place: result of module gguf_place_info.
        manifest: of the model that is wanted; empty where it is not made yet.
        inputs: what the plan is made from: `from` (the quantizer) and `is_made` (whether it makes a model in this run).
    """
    return {
        "inputs": dict(inputs),
        "from": inputs["from"],
        "manifest": dict(manifest),
        "path": place["path"],
        "complete": place["complete"],
        "placed": place["finished"],
        "pointed": place["pointed"],
        "missing_bytes": place["missing_bytes"],
        "change": not manifest or inputs["is_made"] or not (place["finished"] and place["pointed"]),
    }
