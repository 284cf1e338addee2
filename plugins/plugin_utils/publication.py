"""What is said of a model that is published. All functions are pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import (
    RecipeError,
    effective,
    load_recipe,
    quantize_argv,
)

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
#: Licenses that the hub has no name for.
OTHER = "other"


def base_model(given: str, file: Mapping[str, Any]) -> str:
    """Return the base model as the hub names it (OWNER/NAME): the given one, or the first of the header, or none."""
    if given:
        return given
    for address in file["base_models"]:
        if found := re.fullmatch(rf"https://huggingface\.co/({_REPOSITORY.pattern})/?", address):
            return found[1]
    return ""


def publication_problems(
    values: Mapping[str, Any], file: Mapping[str, Any], manifest: Mapping[str, Any], recipe: Mapping[str, Any]
) -> list[str]:
    """Return what keeps a model from being published, each with the variable, its value, and what to do.

    Args:
        values: ``publication``, ``license``, ``base_model`` and ``upload_to``: variables of the role, without the
            prefix.
        file: as module `gguf_file_info` returns it.
        manifest: of the model.
        recipe: data of the recipe's file as it is now.
    """
    problems = []
    if not _PLAIN_NAME.fullmatch(str(values["publication"])):
        problems.append(
            "the name may contain only letters, digits, '.', '_' and '-' "
            f"(gguf_publish_as = {values['publication']!r})."
        )
    if values["base_model"] and not _REPOSITORY.fullmatch(str(values["base_model"])):
        problems.append(f"the base model is named OWNER/NAME (gguf_publish_base_model = {values['base_model']!r}).")
    if values["upload_to"] and not _REPOSITORY.fullmatch(str(values["upload_to"])):
        problems.append(f"the repository is named OWNER/NAME (gguf_publish_upload_to = {values['upload_to']!r}).")
    if not (values["license"] or file["license"]):
        problems.append(
            "the model's header names no license (gguf_publish_license is empty). Set it to the license of the base "
            f"model, as the hub names it, for example apache-2.0, or {OTHER}."
        )
    try:
        same = effective(load_recipe(recipe)) == manifest["quantized"]
    except RecipeError as error:
        problems.append(f"the recipe cannot be read: {error}.")
        return problems
    if not same:
        problems.append(
            f"the recipe {manifest['recipe']} was changed since the model was made. Run playbooks/quantize.yml first."
        )
    return problems


def front_matter(values: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a hub reads of the card ("Model cards", its documentation): license, base model, tags."""
    base = base_model(values["base_model"], file)
    return {
        "license": values["license"] or file["license"],
        **({"base_model": base, "base_model_relation": "quantized"} if base else {}),
        "pipeline_tag": "text-generation",
        "tags": ["gguf", "ik_llama.cpp", "raspberry-pi", *(["imatrix"] if values["imatrix"] else [])],
    }


def quantize_command(recipe: Mapping[str, Any], manifest: Mapping[str, Any], result: str) -> str:
    """Return the command that made the model, for a shell, with the names of its files. Raises RecipeError."""
    imatrix = manifest["imatrix"]["file"] if manifest["imatrix"] else ""
    return shlex.join(
        quantize_argv(load_recipe(recipe), "llama-quantize", manifest["source"]["file"], result, imatrix, 0)
    )
