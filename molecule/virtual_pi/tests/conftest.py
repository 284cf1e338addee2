"""The virtual Pi of this scenario, with a server that others can reach with an API key."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(PROJECT / "tests/bench"))
os.environ["LAB_VIRTUAL"] = "virtual-test"

import power_cuts  # noqa: E402


@pytest.fixture(scope="session")
def machine() -> Any:
    return power_cuts.VirtualPi(key_file="/etc/llama-server/api-keys")


@pytest.fixture(scope="session")
def key() -> str:
    return random.randbytes(24).hex()


@pytest.fixture(scope="session")
def options(key: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of variables that would come from a vault."""
    path = tmp_path_factory.mktemp("options") / "vault.yml"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"llama_server_host": "0.0.0.0", "llama_server_api_keys": [key]}))
    return path


@pytest.fixture(scope="session")
def play(options: Path) -> Callable[..., power_cuts.Run]:
    """Return a function that starts a playbook with these variables and -vvv."""

    def start(*arguments: str) -> power_cuts.Run:
        return power_cuts.Run(*arguments, "-vvv", "-e", f"@{options}")

    return start


@pytest.fixture(scope="session")
def draw() -> random.Random:
    """Return the generator of random moments. Its seed is printed; put it here to see the same moments again."""
    seed = random.randrange(10000)
    print(f"seed {seed}")
    return random.Random(seed)
