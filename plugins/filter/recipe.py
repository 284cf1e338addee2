# SPDX-License-Identifier: Apache-2.0
"""Filters for recipes that are sought, and for the data that they are found by."""

from __future__ import annotations

from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.plugin_utils.quantize_checks import recipe_file, shipped_recipes
from ansible_collections.ik_llama.pi.plugins.plugin_utils.recipe_score import sensitivity_data
from ansible_collections.ik_llama.pi.plugins.plugin_utils.recipe_solution import as_markdown, as_text, as_yaml, plot


def sensitivities(name: str, model: str, folder: str) -> dict[str, Any]:
    """Return the data of sensitivities, empty where none are known; see plugin_utils/recipe_score.py."""
    try:
        return sensitivity_data(name, model, folder) or {}
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def restriction_data(name: str, folder: str) -> list[Any]:
    """Return restrictions from their file: a name is one in `folder`, a path has a slash. Empty for none."""
    if not name:
        return []
    path = recipe_file(name, folder)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnsibleFilterError(
            f"the restrictions do not exist (gguf_quantize_restrictions = {name!r}). Set it to one of"
            f" {', '.join(shipped_recipes(folder))}, or to the path of a file with a slash."
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise AnsibleFilterError(f"{path} cannot be read (gguf_quantize_restrictions): {error}") from error
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise AnsibleFilterError(f"{path} is not a list of restrictions (gguf_quantize_restrictions).")
    return data


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "recipe_as_markdown": as_markdown,
            "recipe_as_text": as_text,
            "recipe_as_yaml": as_yaml,
            "recipe_plot": plot,
            "restriction_data": restriction_data,
            "sensitivity_data": sensitivities,
        }
