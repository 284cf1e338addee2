"""Filters of the role ik_llama_build."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.engine.build import ignored_options, unused_options
from ansible_collections.ik_llama.pi.plugins.plugin_utils.engine_checks import host_problems, request_problems


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
