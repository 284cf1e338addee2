"""Filters about the size of models in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils as _module_utils

_here = str(Path(__file__).resolve().parent.parent / "module_utils")
if _here not in _module_utils.__path__:
    _module_utils.__path__.append(_here)

from ansible.errors import AnsibleFilterError
from ansible.module_utils.footprint import footprint


def llama_footprint(plan: dict[str, Any], context: int, **options: Any) -> dict[str, int]:
    """Memory by purpose and in total, in bytes; see module_utils/footprint.py."""
    try:
        return footprint(plan, context, **options)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"llama_footprint: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"llama_footprint": llama_footprint}
