"""Filters of the gateway."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils.gateway import (
    gateway_plan,
    gateway_problems,
    reached,
    secret_files,
)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "gateway_plan": gateway_plan,
            "gateway_problems": gateway_problems,
            "gateway_reached": reached,
            "gateway_secret_files": lambda boards, settings: secret_files(settings, boards),
        }
