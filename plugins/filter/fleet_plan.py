"""Filters that plan a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_plan import as_markdown, as_text, board_of, fleet_plan


def planned_board(name: str, **facts: Any) -> dict[str, Any]:
    """A board from what is declared or was asked; see module_utils/fleet_plan.py."""
    try:
        return board_of(name, **facts)
    except ValueError as error:
        raise AnsibleFilterError(f"{name}: {error}") from error


def planned_fleet(plans: dict[str, Any], source: dict[str, Any], boards: list[dict[str, Any]]) -> dict[str, Any]:
    """What fits where; see module_utils/fleet_plan.py."""
    try:
        return fleet_plan(source, plans, boards)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"planned_fleet: {error}") from error


def recipe_files(asked: list[str], folder: str) -> dict[str, Any]:
    """Recipes by name, from files: a name is one in ``folder``, a path has a slash. None asked: all of the folder."""
    recipes = {}
    for name in asked or sorted(path.stem for path in Path(folder).glob("*.yml")):
        path = Path(name).expanduser() if "/" in name else Path(folder) / f"{name}.yml"
        try:
            recipes[path.stem] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise AnsibleFilterError(f"the recipe {name!r} cannot be read: {error}") from error
    return recipes


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "planned_board": planned_board,
            "planned_fleet": planned_fleet,
            "recipe_files": recipe_files,
            "plan_as_text": as_text,
            "plan_as_markdown": as_markdown,
        }
