"""Filters about a board's metrics."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils.metrics import (
    asked_addresses,
    metrics_problems,
    web_configuration,
)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "pi_metrics_asked": asked_addresses,
            "pi_metrics_problems": metrics_problems,
            "pi_metrics_web": web_configuration,
        }
