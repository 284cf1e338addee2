"""Filters about what is known to go wrong with an engine release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.plugin_utils import hazards


def checked(entries: Any) -> Any:
    """The entries, if nothing is wrong with them."""
    problems = hazards.problems(entries)
    if problems:
        raise AnsibleFilterError("known hazards: " + "; ".join(problems))
    return entries


def engine_hazards(entries: Any, release: dict[str, Any]) -> list[Any]:
    """The known hazards that hold for a release (its manifest)."""
    try:
        return hazards.of_release(checked(entries), release)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"engine_hazards: {error}") from error


def deployment_hazards(entries: Any, release: dict[str, Any], types: Any, **options: Any) -> list[dict[str, Any]]:
    """What goes wrong with a model on a release; see module_utils/hazards.py."""
    try:
        return hazards.of_deployment(checked(entries), release, types, **options)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"deployment_hazards: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"engine_hazards": engine_hazards, "deployment_hazards": deployment_hazards}
