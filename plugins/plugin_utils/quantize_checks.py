"""Check the variables of role gguf_quantize, and find its recipes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ID = re.compile(r"[0-9a-f]{12}")
_SHA256 = r"[0-9a-fA-F]{64}"
_SERVER = re.compile(r"https?://[^/ ]+/?")


def recipe_file(name: str, folder: str) -> Path:
    """Return the file of a recipe: a name is one in `folder`, a path contains a slash."""
    return Path(name).expanduser() if "/" in name else Path(folder) / f"{name}.yml"


def shipped_recipes(folder: str) -> list[str]:
    """Return the names of the recipes in a folder."""
    return sorted(path.stem for path in Path(folder).glob("*.yml"))


def _number(value: Any) -> int | None:
    """Return a number that may be given as text, None if it is none."""
    try:
        return int(str(value))
    except ValueError:
        return None


def quantize_problems(values: Mapping[str, Any], folder: str) -> list[str]:
    """Return what is wrong with the variables, each with its name, its value, and what to do.

    Args:
        values: the role's variables by name, without the prefix `gguf_quantize_`.
        folder: of the recipes that come with the role.
    """
    problems = []

    def wrong(name: str, text: str) -> None:
        problems.append(f"{text} (gguf_quantize_{name} = {values[name]!r}).")

    if not _PLAIN_NAME.fullmatch(str(values["name"])):
        wrong("name", "the model's name may contain only letters, digits, '.', '_' and '-'")
    recipe = str(values["recipe"])
    file = recipe_file(recipe, folder)
    if not file.is_file():
        known = ", ".join(shipped_recipes(folder))
        wrong("recipe", f"the recipe does not exist. Set it to one of {known}, or to the path of a file with a slash")
    if not _PLAIN_NAME.fullmatch(file.stem) or _ID.fullmatch(file.stem):
        wrong(
            "recipe", "the recipe's name may contain only letters, digits, '.', '_' and '-', and not be 12 hex digits"
        )
    if not re.fullmatch(rf"({_SHA256}( +{_SHA256})*)?", str(values["source_sha256"])):
        wrong("source_sha256", "a sha256 is 64 hex digits. Give one for each part, separated by spaces, or none")
    if not re.fullmatch(rf"({_SHA256})?", str(values["imatrix_sha256"])):
        wrong("imatrix_sha256", "a sha256 is 64 hex digits. Correct it, or leave it empty")
    if not _SERVER.fullmatch(str(values["hub"])):
        wrong("hub", "the hub is a server's URL, like https://huggingface.co")
    connections, threads = _number(values["connections"]), _number(values["threads"])
    if connections is None or not 1 <= connections <= 16:
        wrong("connections", "the number of connections must be from 1 to 16")
    if threads is None or threads < 0:
        wrong("threads", "the number of threads must be 0 (all that the host has) or more")
    return problems
