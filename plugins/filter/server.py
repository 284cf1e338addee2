"""Filters about llama-server's options."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.server.options import (
    is_loopback,
    server_arguments,
    server_problems,
    watchdog_sha256,
)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "is_loopback": is_loopback,
            "llama_server_arguments": server_arguments,
            "llama_server_problems": server_problems,
            "llama_server_watchdog_sha256": watchdog_sha256,
        }
