# SPDX-License-Identifier: Apache-2.0
"""Filters about the fleet as a whole."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils import fleet, fleet_status


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "rolling_batches": fleet.rolling_batches,
            "rolling_failures": fleet.rolling_failures,
            "serve_summary": fleet.serve_summary,
            "fleet_status": fleet.fleet_status,
            "changes_text": fleet_status.changes_text,
            "status_text": fleet_status.status_text,
        }
