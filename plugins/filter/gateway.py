# SPDX-License-Identifier: Apache-2.0
"""Filters for the gateway."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils.gateway import (
    gateway_boards,
    gateway_id,
    gateway_inputs,
    gateway_problems,
    kept_boards,
    key_digest,
    secret_files,
)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "gateway_boards": gateway_boards,
            "gateway_id": gateway_id,
            "gateway_inputs": gateway_inputs,
            "gateway_kept_boards": kept_boards,
            "gateway_key_digest": key_digest,
            "gateway_problems": gateway_problems,
            "gateway_secret_files": lambda boards, settings: secret_files(settings, boards),
        }
