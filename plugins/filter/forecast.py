# SPDX-License-Identifier: Apache-2.0
"""Filters for recipes, forecasts and the variables of gguf_quantize."""

from __future__ import annotations

from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_forecast import (
    as_markdown,
    as_text,
    board_for_recipe,
    board_of,
    fleet_forecast,
)
from ansible_collections.ik_llama.pi.plugins.plugin_utils.quantize_checks import (
    quantize_problems,
    recipe_file,
    shipped_recipes,
)
from ansible_collections.ik_llama.pi.plugins.plugin_utils.recipe_score import with_estimates


def forecast_estimates(forecasts: dict[str, Any], name: str, model: str, folder: str) -> dict[str, Any]:
    """Return forecasts with what sensitivities say about them; see plugin_utils/recipe_score.py."""
    try:
        return with_estimates(forecasts, name, model, folder)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def forecast_board(name: str, **facts: Any) -> dict[str, Any]:
    """Return a board as it is declared or as it answered; see plugin_utils/fleet_forecast.py."""
    try:
        return board_of(name, **facts)
    except ValueError as error:
        raise AnsibleFilterError(f"{name}: {error}") from error


def forecast_recipe_board(
    boards: list[dict[str, Any]],
    name: str,
    kind: str,
    server: dict[str, Any],
    memory_mib: int = 0,
    context: int = 0,
    bandwidth_gbs: float = 0,
) -> dict[str, Any]:
    """Return the board that a recipe is sought for; see plugin_utils/fleet_forecast.py."""
    try:
        return board_for_recipe(boards, name, kind, server, memory_mib, context, bandwidth_gbs)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def forecast_fleet(forecasts: dict[str, Any], source: dict[str, Any], boards: list[dict[str, Any]]) -> dict[str, Any]:
    """Return which model fits which board; see plugin_utils/fleet_forecast.py."""
    try:
        return fleet_forecast(source, forecasts, boards)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"forecast_fleet: {error}") from error


def recipe_files(wanted: list[str], folder: str) -> dict[str, Any]:
    """Return recipes by name, from files: a name is one in `folder`, a path has a slash. All of the folder for none."""
    recipes = {}
    for name in wanted or shipped_recipes(folder):
        path = recipe_file(name, folder)
        try:
            recipes[path.stem] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise AnsibleFilterError(f"the recipe {name!r} cannot be read: {error}") from error
    return recipes


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "forecast_board": forecast_board,
            "forecast_estimates": forecast_estimates,
            "forecast_recipe_board": forecast_recipe_board,
            "forecast_fleet": forecast_fleet,
            "forecast_as_text": as_text,
            "forecast_as_markdown": as_markdown,
            "gguf_quantize_problems": quantize_problems,
            "recipe_files": recipe_files,
        }
