"""The project's roles: what their variables are when nobody sets them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: The folder of the collection: a clone, or where it is installed.
PROJECT = Path(__file__).resolve().parents[2]


def role_names() -> list[str]:
    """Return the names of all roles, sorted."""
    return sorted(path.name for path in (PROJECT / "roles").iterdir() if path.is_dir())


@cache
def specification(role: str) -> dict[str, Any]:
    """Return the options of all entry points of a role: name to specification, as in meta/argument_specs.yml."""
    text = (PROJECT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry.get("options", {}).items()}


def default(name: str, role: str) -> Any:
    """Return the default value of a role's variable, as its specification gives it."""
    return specification(role)[name].get("default")
