# SPDX-License-Identifier: Apache-2.0
"""A filter about what is known to go wrong with a model on an engine release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.plugin_utils import hazards


def deployment_hazards(entries: Any, release: dict[str, Any], types: Any, **options: Any) -> list[dict[str, Any]]:
    """Return what goes wrong with a model on a release; see plugin_utils/hazards.py."""
    try:
        problems = hazards.problems(entries)
        if problems:
            raise AnsibleFilterError(f"wrong hazards (llama_server_hazards): {'; '.join(problems)}")
        return hazards.of_deployment(entries, release, types, **options)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"deployment_hazards: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"deployment_hazards": deployment_hazards}
