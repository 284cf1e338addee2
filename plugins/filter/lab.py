"""Filters of the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils as _module_utils

_here = str(Path(__file__).resolve().parent.parent / "module_utils")
if _here not in _module_utils.__path__:
    _module_utils.__path__.append(_here)

from ansible.module_utils.lab import backports_source, has_backports, lab_plan, lab_problems, lab_steps
from ansible.module_utils.virtual_pi import image_key


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
