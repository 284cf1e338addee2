# SPDX-License-Identifier: Apache-2.0
"""Filters for network addresses."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import local_address


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"local_address": local_address}
