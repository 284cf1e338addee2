# SPDX-License-Identifier: Apache-2.0
"""Filters for what is said of a model that is published."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import RecipeError
from ansible_collections.ik_llama.pi.plugins.plugin_utils.publication import (
    base_model,
    front_matter,
    publication_problems,
    quantize_command,
)


def command(recipe: dict[str, Any], manifest: dict[str, Any], result: str) -> str:
    """Return the command that made the model; see plugin_utils/publication.py."""
    try:
        return quantize_command(recipe, manifest, result)
    except RecipeError as error:
        raise AnsibleFilterError(f"quantize_command: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "publication_base_model": base_model,
            "publication_front_matter": front_matter,
            "publication_problems": publication_problems,
            "quantize_command": command,
        }
