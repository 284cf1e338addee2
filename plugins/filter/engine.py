"""Filters of the role ik_llama_build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ansible.module_utils as _mu

_UTILS = str(Path(__file__).resolve().parents[1] / "module_utils")
if _UTILS not in _mu.__path__:
    _mu.__path__.append(_UTILS)

from ansible.module_utils.engine import ignored_options, unused_options
from ansible.module_utils.engine_checks import host_problems, request_problems


def engine_ignored_options(cmake_output: str, options: dict[str, str]) -> list[str]:
    """Return the wanted options that, as CMake reports, the commit does not have."""
    return ignored_options(unused_options(cmake_output), options)


class FilterModule:
    """Offers the filters to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "engine_host_problems": host_problems,
            "engine_ignored_options": engine_ignored_options,
            "engine_request_problems": request_problems,
        }
