"""The plan of the role llama_server: what it would do on a board. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_text

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
    "keys_surplus",
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
        "current_port": int(found["current_served"]["port"]),
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
        "keys_surplus": plan["keys_surplus"] and bool(plan["inputs"].get("keep_api_keys")),
        "prepare": False,
    }


def serving(found: Mapping[str, Any], keys: str) -> dict[str, Any]:
    """Return what other hosts need to know of the server in service: host, port, parallel (slots), api_keys.

    Empty where nothing is in service.

    Args:
        found: result of module llama_deployment_info.
        keys: text of the file with its API keys, a secret.
    """
    if not found["current"]:
        return {}
    values = {flag[0]: flag[1] for flag in found["deployment"]["arguments"] if len(flag) > 1}
    served = found["current_served"]
    return {
        "host": served["address"],
        "port": int(served["port"]),
        "parallel": int(values.get("--parallel", 1)),
        "api_keys": keys.split(),
    }


def file_digests(files: Mapping[str, str]) -> dict[str, str]:
    """Return the sha256 of each file of a deployment by name, as its manifest has it; empty files are left out."""
    return {name: sha256_text(text) for name, text in files.items() if text}
