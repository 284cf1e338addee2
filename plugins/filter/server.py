"""Filters about llama-server's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils as _module_utils

_here = str(Path(__file__).resolve().parent.parent / "module_utils")
if _here not in _module_utils.__path__:
    _module_utils.__path__.append(_here)

from ansible.module_utils.server import is_loopback, server_arguments, server_problems, watchdog_sha256


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "is_loopback": is_loopback,
            "llama_server_arguments": server_arguments,
            "llama_server_problems": server_problems,
            "llama_server_watchdog_sha256": watchdog_sha256,
        }
