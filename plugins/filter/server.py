# SPDX-License-Identifier: Apache-2.0
"""Filters about llama-server's options."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import is_loopback
from ansible_collections.ik_llama.pi.plugins.module_utils.server.arguments import server_arguments
from ansible_collections.ik_llama.pi.plugins.module_utils.server.checks import server_problems
from ansible_collections.ik_llama.pi.plugins.plugin_utils import server_plan


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "is_loopback": is_loopback,
            "llama_server_arguments": server_arguments,
            "llama_server_problems": server_problems,
            "llama_server_plan": server_plan.server_plan,
            "llama_server_activated": server_plan.activated,
            "llama_server_serving": server_plan.serving,
            "llama_server_file_digests": server_plan.file_digests,
        }
