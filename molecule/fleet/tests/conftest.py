"""The fleet of this scenario, and how long its boards were without service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

BOARDS = ("pi-01", "pi-02", "pi-03", "pi-04")
#: Asks /health ten times a second and notes when it began to ask, and when that was answered with a yes. A slow answer
#: of a busy machine is one.
PROBE = """
import sys, time, urllib.request
while True:
    begun = time.time()
    try:
        urllib.request.urlopen(sys.argv[1], timeout=3)
        print(begun, time.time(), flush=True)
    except OSError:
        pass
    time.sleep(max(0, begun + 0.1 - time.time()))
"""


@pytest.fixture(scope="session")
def boards(fleet: Any) -> dict[str, Any]:
    return {name: fleet.host(name) for name in BOARDS}


@pytest.fixture(scope="session")
def board(boards: dict[str, Any]) -> Any:
    """The board that faults are made on."""
    return boards["pi-04"]


@pytest.fixture(scope="session")
def play(run_playbook: Any) -> Any:
    return run_playbook


@pytest.fixture
def outage(record_property: Callable[[str, object], None]) -> Callable[..., AbstractContextManager[list[float]]]:
    """Measures the longest time for which a board's server gave no answer; the list has it (seconds) afterwards."""

    @contextmanager
    def measure(board: Any, port: int = 8080) -> Iterator[list[float]]:
        board.check_output(
            "systemd-run --quiet --collect --unit=probe --property=StandardOutput=file:/run/probe"
            " python3 -c %s http://127.0.0.1:%s/health",
            PROBE,
            str(port),
        )
        time.sleep(1)
        seconds: list[float] = []
        try:
            yield seconds
        finally:
            time.sleep(1)
            ended = float(board.check_output("systemctl stop probe; date +%s.%N"))
            lines = board.check_output("cat /run/probe; rm /run/probe").splitlines()
            answers = [[float(word) for word in line.split()] for line in lines]
            asked_again = [begun for begun, _ in answers[1:]]
            gaps = [later - answered for (_, answered), later in zip(answers, [*asked_again, ended])]
            assert gaps, "it never answered"
            seconds.append(round(max(gaps) - 0.1, 1) if max(gaps) > 1 else 0.0)
            record_property("seconds_without_service", seconds[0])
            print(f"without service: {seconds[0]} s")

    return measure
