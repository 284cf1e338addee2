# SPDX-License-Identifier: Apache-2.0
"""Filters for the metrics of a board."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils.metrics import (
    allowed_addresses,
    metrics_problems,
    web_configuration,
)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "pi_metrics_allowed_addresses": allowed_addresses,
            "pi_metrics_problems": metrics_problems,
            "pi_metrics_web_configuration": web_configuration,
        }
