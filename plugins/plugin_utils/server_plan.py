"""The plan of the role llama_server: what it would do on a board. All functions are pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

#: Values of module llama_deployment_info that are in a plan as they are.
KEPT = (
    "id",
    "missing",
    "release",
    "model",
    "arguments",
    "current",
    "verified",
    "previous",
    "running",
    "rollout",
    "fallback",
    "fallback_url",
    "serves",
    "change",
    "keys_change",
)


def server_plan(found: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan of a board; the role's README says what is in it.

    Args:
        found: result of module llama_deployment_info.
        inputs: the variables that it was made from.
    """
    served = found["served"]
    return {
        "inputs": dict(inputs),
        **{name: found[name] for name in KEPT},
        **{name: served[name] for name in ("url", "address", "alias", "api_key_file")},
        "port": int(served["port"]),
        # Owner and mode of API keys are set each time.
        "prepare": not found["serves"] or bool(served["api_key_file"]),
    }


def activated(plan: Mapping[str, Any], rollout: str) -> dict[str, Any]:
    """Return the plan after its deployment was activated and verified by a rollout."""
    before = plan["verified"]
    return {
        **plan,
        **dict.fromkeys(("current", "verified", "running"), plan["id"]),
        "previous": before if before and before != plan["id"] else plan["previous"],
        "rollout": rollout,
        "serves": True,
        "change": False,
        "keys_change": False,
        "prepare": False,
    }


def file_digests(files: Mapping[str, str]) -> dict[str, str]:
    """Return the sha256 of each file of a deployment by name, as its manifest has it; empty files are left out."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items() if text}
