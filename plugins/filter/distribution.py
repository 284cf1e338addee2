# SPDX-License-Identifier: Apache-2.0
"""Filter of the role gguf_distribute."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils.distribution import distribute_plan


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"gguf_distribute_plan": distribute_plan}
