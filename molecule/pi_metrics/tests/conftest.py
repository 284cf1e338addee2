"""The board of this scenario."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def play(run_playbook: Any) -> Callable[..., Any]:
    """Run a playbook on this scenario's board, with the variables of converge.yml."""

    def run(*arguments: str, plain: bool = False) -> Any:
        return run_playbook("-e", "pi_metrics_interval=5", *arguments, plain=plain)

    return run
