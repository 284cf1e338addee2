"""Filters about a board's metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils as _module_utils

_here = str(Path(__file__).resolve().parent.parent / "module_utils")
if _here not in _module_utils.__path__:
    _module_utils.__path__.append(_here)

from ansible.module_utils.metrics import asked_addresses, metrics_problems, web_configuration


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "pi_metrics_asked": asked_addresses,
            "pi_metrics_problems": metrics_problems,
            "pi_metrics_web": web_configuration,
        }
