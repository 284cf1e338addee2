"""Filters of the lab."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.lab.plugins.module_utils.lab import (
    backports_source,
    has_backports,
    lab_plan,
    lab_problems,
    lab_steps,
)
from ansible_collections.ik_llama.lab.plugins.module_utils.virtual_pi import image_key


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "backports_source": backports_source,
            "has_backports": has_backports,
            "lab_plan": lab_plan,
            "lab_problems": lab_problems,
            "lab_steps": lab_steps,
            "virtual_image_key": image_key,
        }
