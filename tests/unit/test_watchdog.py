"""The watchdog restarts a server that does nothing and answers nothing, and leaves one alone that works."""

from __future__ import annotations

import http.server
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

WATCHDOG = Path(__file__).resolve().parents[2] / "roles/llama_server/files/watchdog.py"
#: What a server does that does not answer. It starts its own watchdog, as the script of a deployment does.
SERVER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, *sys.argv[2:]])
exec(sys.argv[1])
"""
WORK = {
    "computes": "while True: pass",
    "nothing": "time.sleep(60)",
}


def watchdog() -> ModuleType:
    """The watchdog as a module."""
    spec = importlib.util.spec_from_file_location("watchdog", WATCHDOG)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket in the place of systemd's."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(0.2)
        yield systemd


def states(systemd: socket.socket, seconds: float) -> list[str]:
    """What it was told in these seconds."""
    told, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            told.append(systemd.recv(100).decode())
        except TimeoutError:
            continue
    return told


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and answers nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield int(server.getsockname()[1])


@pytest.fixture
def run(silent_port: int) -> Iterator[object]:
    """Start a server with its watchdog; both end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(work: str, port: int = silent_port, seconds: int = 8, start_seconds: int = 0) -> subprocess.Popen[bytes]:
        watchdog = [str(WATCHDOG), f"http://127.0.0.1:{port}/health", str(seconds), str(start_seconds), "2"]
        process = subprocess.Popen([sys.executable, "-c", SERVER, work, *watchdog], start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(("work", "killed"), [("computes", False), ("nothing", True)])
def test_only_a_server_that_does_nothing_is_killed_before_its_time(
    run: object, notified: socket.socket, work: str, killed: bool
) -> None:
    run(WORK[work])  # type: ignore[operator]
    assert ("WATCHDOG=trigger" in states(notified, 4)) is killed


def test_a_server_that_is_stopped_is_killed_and_one_that_goes_on_in_time_is_not(
    run: object, notified: socket.socket
) -> None:
    process = run(WORK["computes"])  # type: ignore[operator]
    time.sleep(1)
    process.send_signal(signal.SIGSTOP)
    assert "WATCHDOG=trigger" in states(notified, 4)
    process.send_signal(signal.SIGCONT)
    states(notified, 2)
    assert "WATCHDOG=trigger" not in states(notified, 4)


def test_nothing_is_asked_of_systemd_for_a_server_that_answers(run: object, notified: socket.socket) -> None:
    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        run(WORK["nothing"], server.server_address[1], seconds=1)  # type: ignore[operator]
        told = states(notified, 4)
        server.shutdown()
    assert told == []


@pytest.mark.parametrize("start_seconds", [0, 3])
def test_a_server_that_computes_and_never_answers_is_killed(
    run: object, notified: socket.socket, start_seconds: int
) -> None:
    """A model may be loaded for a time before that."""
    run(WORK["computes"], seconds=2, start_seconds=start_seconds)  # type: ignore[operator]
    assert states(notified, start_seconds + 1) == []
    assert "WATCHDOG=trigger" in states(notified, 6)


@pytest.mark.parametrize("work", WORK)
def test_a_machine_that_is_paused_is_not_a_server_that_hangs(run: object, notified: socket.socket, work: str) -> None:
    process = run(WORK[work])  # type: ignore[operator]
    time.sleep(1)
    os.killpg(process.pid, signal.SIGSTOP)
    assert states(notified, 9) == []
    os.killpg(process.pid, signal.SIGCONT)
    assert states(notified, 0.5) == []


def proc(folder: Path, ticks: int = 100, faults: int = 7, read: int = 0, written: int = 0, state: str = "S") -> Path:
    """Make what /proc says of a process with two threads."""
    fields = [state, *["0"] * 8, str(faults), "0", str(ticks), "0", *["0"] * 30]
    for thread, its in ((folder, "S"), (folder / "task/1", "S"), (folder / "task/2", state)):
        thread.mkdir(parents=True, exist_ok=True)
        (thread / "stat").write_text(f"1 (a (server) {its}) {' '.join([its, *fields[1:]])}\n")
    (folder / "io").write_text(f"rchar: 5\nread_bytes: {read}\nwrite_bytes: {written}\n")
    return folder


@pytest.mark.parametrize(
    ("now", "worked"),
    [
        ({}, False),
        # Answering /health takes a tick now and then.
        ({"ticks": 101}, False),
        ({"ticks": 200}, True),
        ({"faults": 8}, True),
        ({"read": 4096}, True),
        ({"written": 4096}, True),
        ({"state": "D"}, True),
    ],
)
def test_what_counts_as_work(tmp_path: Path, now: dict[str, Any], worked: bool) -> None:
    process = watchdog().Process(proc(tmp_path))
    proc(tmp_path, **now)
    assert process.worked(5) is worked


def test_a_process_that_has_ended_is_left_to_systemd(tmp_path: Path) -> None:
    assert watchdog().Process(tmp_path / "gone").worked(5)
