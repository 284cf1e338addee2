"""Filters about boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils as _module_utils

_here = str(Path(__file__).resolve().parent.parent / "module_utils")
if _here not in _module_utils.__path__:
    _module_utils.__path__.append(_here)

from ansible.module_utils.board import board_problems, board_warnings
from ansible.module_utils.board_settings import board_steps, config_lines


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "board_problems": board_problems,
            "board_warnings": board_warnings,
            "board_steps": board_steps,
            "config_lines": config_lines,
        }
