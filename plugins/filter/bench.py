# SPDX-License-Identifier: Apache-2.0
"""Filters of the role llama_bench."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils import bench_plan
from ansible_collections.ik_llama.pi.plugins.plugin_utils.hosts import fact


def bench_failures(hostvars: Any, boards: list[str]) -> dict[str, str]:
    """Return why boards were not measured, by name."""
    found = {name: fact(hostvars, name, "bench_failure") for name in boards}
    return {name: str(reason) for name, reason in found.items() if reason}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "bench_expected": bench_plan.expected_text,
            "bench_failures": bench_failures,
            "bench_problems": bench_plan.bench_problems,
            "bench_settings": bench_plan.settings_of,
            "bench_steps": bench_plan.steps,
        }
