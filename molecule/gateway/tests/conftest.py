"""The fleet of this scenario, and what its tests have in common."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

URL = "https://localhost:8443"
KEY = "key-of-a-client-0123456789"
SCENARIO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def gateway(fleet: Any) -> Any:
    return fleet.host("gateway")


@pytest.fixture(scope="session")
def play(run_playbook: Any) -> Callable[..., Any]:
    """Run a playbook on this scenario's hosts."""

    def run(*arguments: str, plain: bool = False) -> Any:
        return run_playbook("-i", str(SCENARIO / "inventory"), *arguments, plain=plain)

    return run


@pytest.fixture(scope="session")
def client(fleet: Any, gateway: Any) -> Callable[..., Any]:
    """Run one of this scenario's programs on the gateway, with the authority's certificate; its output is JSON."""
    tls = Path(fleet.variable("localhost", "lab_host_cache")) / "lab/gateway/tls/ca.crt"
    gateway.check_output("mkdir -p /root/client")
    for path in [tls, *(SCENARIO / "files").iterdir()]:
        gateway.check_output("printf %%s %s > %s", path.read_text(), f"/root/client/{path.name}")

    def run(program: str, *words: object) -> Any:
        quoted = " ".join(f"'{word}'" for word in words)
        return json.loads(gateway.check_output(f"cd /root/client && python3 {program} {quoted}"))

    return run


@pytest.fixture(scope="session")
def begin_play(begin_playbook: Any) -> Callable[..., Any]:
    """Begin to run a playbook on this scenario's hosts."""
    return lambda *arguments: begin_playbook("-i", str(SCENARIO / "inventory"), *arguments)


@pytest.fixture(scope="session")
def load() -> Callable[..., tuple[threading.Thread, list[dict[str, Any]]]]:
    """Begin to ask, six at a time; the list is filled when the thread ends."""

    def begin(
        client: Any, requests: int, pace: float, tokens: int = 60
    ) -> tuple[threading.Thread, list[dict[str, Any]]]:
        results: list[dict[str, Any]] = []

        def run() -> None:
            results.extend(client("many_requests.py", URL, KEY, requests, 6, tokens, pace))

        thread = threading.Thread(target=run)
        thread.start()
        return thread, results

    return begin
