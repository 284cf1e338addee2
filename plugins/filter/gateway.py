"""Filters of the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils as _module_utils

_here = str(Path(__file__).resolve().parent.parent / "module_utils")
if _here not in _module_utils.__path__:
    _module_utils.__path__.append(_here)

from ansible.module_utils.gateway import gateway_plan, gateway_problems, reached, secret_files


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "gateway_plan": gateway_plan,
            "gateway_problems": gateway_problems,
            "gateway_reached": reached,
            "gateway_secret_files": lambda boards, settings: secret_files(settings, boards),
        }
