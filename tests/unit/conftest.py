"""Let unit tests import the project's plugins the way Ansible does."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import ansible.module_utils as _mu
import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

if str(PLUGINS / "module_utils") not in _mu.__path__:
    _mu.__path__.append(str(PLUGINS / "module_utils"))


def load_plugin(kind: str, name: str) -> ModuleType:
    """Import plugins/<kind>/<name>.py as a module of its own."""
    full = f"ik_llama_pi_{kind}_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, PLUGINS / kind / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


@pytest.fixture(scope="session")
def plugin() -> Callable[[str, str], ModuleType]:
    """Return load_plugin, so that tests need no import from this file."""
    return load_plugin
