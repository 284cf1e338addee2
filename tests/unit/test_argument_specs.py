"""Each role's defaults and its argument specification say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for folder in ("roles", "lab/roles") for path in (PROJECT / folder).glob("*") if path.is_dir())
NONE = "(no default)"
each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def entry_points(role: Path) -> dict[str, Any]:
    return load(role / "meta/argument_specs.yml")["argument_specs"]


@each_role
def test_role_is_complete(role: Path) -> None:
    files = ["README.md", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"]
    assert [name for name in files if not (role / name).is_file()] == []
    assert load(role / "meta/main.yml")["galaxy_info"]["role_name"] == role.name


def written(value: Any, option: dict[str, Any]) -> Any:
    """Return a default as a specification can write it: a template is no boolean and no list of dictionaries."""
    template = isinstance(value, str) and "{{" in value
    return NONE if template and (option["type"] == "bool" or option.get("elements") == "dict") else value


@each_role
def test_specification_has_the_defaults(role: Path) -> None:
    options = entry_points(role)["main"]["options"]
    named = {name: option.get("default", NONE) for name, option in options.items()}
    defaults = load(role / "defaults/main.yml")
    assert named.keys() == defaults.keys()
    assert named == {name: written(value, options[name]) for name, value in defaults.items()}


@each_role
def test_variables_begin_with_the_name_of_the_role(role: Path) -> None:
    names = sorted({name for entry in entry_points(role).values() for name in entry["options"]})
    # Two underscores mark what is internal, and so not for a user to set.
    assert [name for name in names if not re.match(rf"{role.name}_(?!_)", name)] == []


@each_role
def test_checks_alone_take_the_same_options(role: Path) -> None:
    entries = entry_points(role)
    assert ("preflight" in entries) == (role / "tasks/preflight.yml").exists()
    if "preflight" in entries:
        assert entries["preflight"]["options"] == entries["main"]["options"]
