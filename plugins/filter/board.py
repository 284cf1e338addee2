# SPDX-License-Identifier: Apache-2.0
"""Filters about boards."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import board_problems, board_warnings
from ansible_collections.ik_llama.pi.plugins.module_utils.board.settings import board_plan, config_lines


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "board_problems": board_problems,
            "board_warnings": board_warnings,
            "board_plan": board_plan,
            "board_config_lines": config_lines,
        }
