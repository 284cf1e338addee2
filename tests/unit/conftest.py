"""Let unit tests import the project's plugins the way Ansible does."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import project_collection  # noqa: F401
import pytest


def load_plugin(kind: str, name: str, collection: str = "pi") -> ModuleType:
    """Import plugins/<kind>/<name>.py of ik_llama.<collection>."""
    return importlib.import_module(f"ansible_collections.ik_llama.{collection}.plugins.{kind}.{name}")


@pytest.fixture(scope="session")
def plugin() -> Callable[..., ModuleType]:
    """Return load_plugin, so that tests need no import from this file."""
    return load_plugin
