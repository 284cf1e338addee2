# SPDX-License-Identifier: Apache-2.0
"""Filters about a GGUF file that was inspected."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.plugin_utils import hazards, inspection


def inspected_file(found: dict[str, Any], boards: list[dict[str, Any]], known: Any) -> dict[str, Any]:
    """Return all that is known of a file; see plugin_utils/inspection.py."""
    try:
        if problems := hazards.problems(known):
            raise AnsibleFilterError(f"wrong hazards (llama_server_hazards): {'; '.join(problems)}")
        return inspection.inspection(found, boards, known)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise AnsibleFilterError(f"inspected_file: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"inspected_file": inspected_file, "inspected_file_as_text": inspection.as_text}
