"""Filters of the lab."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.lab.plugins.module_utils.lab import (
    backports_source,
    board_table,
    has_backports,
    lab_plan,
    lab_problems,
    lab_steps,
)
from ansible_collections.ik_llama.lab.plugins.module_utils.virtual_pi import image_id, virtual_plan


class FilterModule:
    """The lab's filters; the functions have the documentation."""

    def filters(self) -> dict[str, Any]:
        return {
            "backports_source": backports_source,
            "board_table": board_table,
            "has_backports": has_backports,
            "lab_plan": lab_plan,
            "lab_problems": lab_problems,
            "lab_steps": lab_steps,
            "virtual_image_id": image_id,
            "virtual_plan": virtual_plan,
        }
