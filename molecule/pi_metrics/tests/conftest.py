"""The board of this scenario."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

INVENTORY = Path(__file__).resolve().parents[3] / "lab/inventory/fleet.py"


@pytest.fixture(scope="session")
def board(fleet: Any) -> Any:
    return type(fleet)(INVENTORY).host("pi-01")


@pytest.fixture(scope="session")
def play(run_playbook: Any) -> Callable[..., Any]:
    """Run a playbook on this scenario's board, with the variables of converge.yml."""

    def run(*arguments: str, plain: bool = False) -> Any:
        return run_playbook("-e", "pi_metrics_interval=5", *arguments, inventory=INVENTORY, plain=plain)

    return run
