"""The boards of the lab for testinfra, and ansible-playbook on them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import boards
import pytest
from runs import JSONL, Background

PROJECT = Path(__file__).resolve().parents[1]
#: Scenarios with native boards name their fleet.
INVENTORY = PROJECT / "lab/inventory" / ("fleet.py" if "LAB_FLEET" in os.environ else "containers.yml")


class Lab(boards.Fleet):
    """The boards of a lab: containers that can be restarted."""

    def podman(self, *words: str) -> str:
        """Run the lab's own podman, and return what it prints."""
        settings = Path(self.variable("localhost", "lab_host_cache")) / "podman"
        environment = {
            **os.environ,
            "CONTAINERS_CONF": str(settings / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(settings / "storage.conf"),
        }
        return subprocess.run(
            ["podman", *words], env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def restart(self, name: str) -> None:
        """Stop and start a board's container: for systemd inside it a reboot."""
        self.podman("restart", "--time=10", f"{self.variable('localhost', 'lab_host_instance')}-{name}")
        for _ in range(60):
            try:
                self.host(name).check_output("true")
                return
            except (OSError, EOFError, boards.SSHException):  # sshd is not there yet
                time.sleep(1)
        raise AssertionError(f"{name} did not come back")


def playbook(
    *arguments: str, inventory: Path = INVENTORY, environment: dict[str, str] | None = None, plain: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook, on the lab where no other inventory is given. What it did is read by tests/verify/runs.py;
    with `plain` the output is what a user sees."""
    return subprocess.run(
        ["ansible-playbook", "-i", str(inventory), *arguments],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "false", **({} if plain else JSONL), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def fleet() -> Lab:
    return Lab(INVENTORY)


@pytest.fixture(scope="session")
def podman(fleet: Lab) -> Any:
    return fleet.podman


@pytest.fixture(scope="session")
def run_playbook() -> Any:
    return playbook


@pytest.fixture(scope="session")
def begin_playbook() -> Any:
    """Begin to run ansible-playbook on the lab's boards, and go on."""

    def begin(*arguments: str) -> Background:
        return Background(["ansible-playbook", "-i", str(INVENTORY), *arguments], PROJECT)

    return begin


@pytest.fixture(scope="session")
def board(fleet: Lab) -> Any:
    return fleet.host("pi-01")


@pytest.fixture(scope="session")
def asked() -> Any:
    return boards.ask


@pytest.fixture(scope="session")
def process() -> Any:
    return boards.process
