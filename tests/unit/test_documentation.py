"""What `ansible-doc` shows: every filter is there with its parameters, and the examples of modules use what exists."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
PREFIX = "ik_llama.pi."
SIDECARS = {path.stem: path for path in (PLUGINS / "filter").glob("*.yml")}


def filters() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for path in sorted((PLUGINS / "filter").glob("*.py")):
        found |= (
            importlib.import_module(f"ansible_collections.{PREFIX}plugins.filter.{path.stem}").FilterModule().filters()
        )
    return found


FILTERS = filters()


def constants(path: Path) -> dict[str, Any]:
    """Return the documentation of a module by the name of its constant."""
    return {
        target.id: yaml.safe_load(ast.literal_eval(node.value))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }


MODULES = {path.stem: constants(path) for path in sorted((PLUGINS / "modules").glob("*.py"))}


def all_options(documentation: dict[str, Any]) -> dict[str, Any]:
    """Return a module's options with those of the fragments that it extends."""
    options = dict(documentation.get("options") or {})
    for fragment in documentation.get("extends_documentation_fragment", []):
        file, _dot, group = fragment.removeprefix(PREFIX).partition(".")
        fragments = importlib.import_module(f"ansible_collections.ik_llama.pi.plugins.doc_fragments.{file}")
        options |= yaml.safe_load(getattr(fragments.ModuleDocFragment, group.upper()))["options"]
    return options


def tasks() -> Iterator[Any]:
    """Yield each task with a module of ours in an example of a module or filter."""
    for name, documented in MODULES.items():
        yield from (pytest.param(task, id=name) for task in documented["EXAMPLES"])
    for name, path in SIDECARS.items():
        example = yaml.safe_load(yaml.safe_load(path.read_text(encoding="utf-8"))["EXAMPLES"])
        yield from (pytest.param(task, id=name) for task in example if isinstance(task, dict) and "hosts" not in task)


def test_every_filter_is_documented() -> None:
    assert SIDECARS.keys() == FILTERS.keys()


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_documented_with_its_parameters(name: str) -> None:
    documented = yaml.safe_load(SIDECARS[name].read_text(encoding="utf-8"))["DOCUMENTATION"]
    assert documented["name"] == name
    options = documented["options"]
    parameters = [*inspect.signature(FILTERS[name]).parameters.values()][1:]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        assert set(options) - {"_input"} == {parameter.name for parameter in parameters}
        for parameter in parameters:
            needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
            assert needed == options[parameter.name].get("required", False), parameter
    positional = [word for word in documented.get("positional", "").split(", ") if word]
    assert set(positional) <= set(options)


@pytest.mark.parametrize("task", list(tasks()))
def test_an_example_uses_full_names_and_options_that_exist(task: dict[str, Any]) -> None:
    modules = [name for name in task if name.count(".") == 2]
    assert len(modules) == 1, task
    module = modules[0].removeprefix(PREFIX)
    if module != modules[0]:
        options = all_options(MODULES[module]["DOCUMENTATION"])
        used = set(task[modules[0]] or {})
        assert used <= set(options)
        assert {name for name, option in options.items() if option.get("required")} <= used
