#!/usr/bin/env python3
"""See how long a server that breaks is without service, and that one which is slow is left alone.

On a container of this machine's own kind (lab/inventory/fleet.py) with the real engine and the test model:

- `assertion`: two slots and one conversation in each make an assertion of the engine fail; ten times, with one to four
  threads, without a debugger;
- `stopped`: the server is stopped (SIGSTOP), with the watchdog's defaults;
- `loading`: a model of 2.8 GB (tests/bench/full_shape.py) is read at 20 MB/s from a disk, nothing of it in memory;
- `prompt`: 8,000 tokens of prompt for a server that has a hundredth of the processors, so that it takes minutes;
- `paused`: the whole board is paused for six minutes, longer than any limit of the watchdog.

The last three may not restart the server. About half an hour::

    tests/bench/broken_server.py
    tests/bench/broken_server.py --only assertion

Prints a table, and ends with 1 where something took longer than it should, or was restarted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests/verify"))
os.environ.update(LAB_FLEET="broken", LAB_FLEET_PORT="2640", LAB_BOARDS="1")

from boards import Fleet, ask  # noqa: E402

INVENTORY = PROJECT / "lab/inventory/fleet.py"
CONTAINER = "broken-pi-01"
MODEL = "/var/lib/llama/models/alphabet/current.gguf"
LETTERS = "abcdefghijkl"
URL = "http://127.0.0.1:8080"
THREADS = (1, 1, 1, 2, 2, 2, 3, 3, 4, 4)
BYTES_PER_SECOND = 20_000_000
#: Asks the server, one conversation in each of its threads, and notes when the first of them broke off.
CONVERSATIONS = """
import json, sys, threading, time, urllib.request as r
words, conversations = int(sys.argv[1]), int(sys.argv[2])
body = {"messages": [{"role": "user", "content": "x " * words}], "max_tokens": 300}
def ask():
    try:
        request = r.Request("http://127.0.0.1:8080/v1/chat/completions", json.dumps(body).encode())
        r.urlopen(request, timeout=3000).read()
    except OSError:
        print(time.time(), flush=True)
threads = [threading.Thread(target=ask) for _ in range(conversations)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


class Board:
    """The container, and the server in it."""

    def __init__(self) -> None:
        self.play("lab/playbooks/up.yml")
        self.play("site.yml")
        self.fleet = Fleet(INVENTORY)
        self.settings = Path(self.fleet.variable("localhost", "lab_host_cache")) / "podman"

    def play(self, *words: str) -> None:
        run = subprocess.run(
            ["ansible-playbook", "-i", str(INVENTORY), *words], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise SystemExit(run.stdout + run.stderr)

    def serve(self, **options: Any) -> None:
        self.play(
            "playbooks/serve.yml", "-e", json.dumps({f"llama_server_{name}": each for name, each in options.items()})
        )

    def podman(self, *words: str) -> str:
        environment = {
            **os.environ,
            "CONTAINERS_CONF": str(self.settings / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.settings / "storage.conf"),
        }
        return subprocess.run(
            ["podman", *words], env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def run(self, command: str, *words: str) -> str:
        return str(self.fleet.host("pi-01").check_output(command, *words))

    def pid(self) -> str:
        return self.run("systemctl show -P MainPID llama-server")

    def wait_until_healthy(self, seconds: float) -> float:
        """Return when (time.time()) it said that it is."""
        asks = f"import urllib.request as r; r.urlopen('{URL}/health', timeout=5)"
        deadline = time.monotonic() + seconds
        while self.fleet.host("pi-01").run("python3 -c %s", asks).rc != 0:
            if time.monotonic() > deadline:
                raise SystemExit(f"not healthy after {seconds} s:\n{self.run('journalctl -u llama-server -n 50')}")
            time.sleep(0.2)
        return time.time()

    def answers(self) -> bool:
        return bool(ask(self.fleet.host("pi-01"), 8080) == LETTERS)


def row(*cells: object) -> None:
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def assertion(board: Board) -> bool:
    good = board.fleet.host("pi-01").run("command -v gdb").rc != 0
    for number, threads in enumerate(THREADS):
        if threads not in THREADS[:number]:
            board.serve(parallel=2, allow_hazards="all", threads=threads, threads_batch=threads)
        before = board.pid()
        first = float(board.run("python3 -c %s 700 2", CONVERSATIONS).split()[0])
        seconds = board.wait_until_healthy(120) - first
        ended = board.run("journalctl -u llama-server -n 400 --no-pager")
        fine = board.pid() != before and "GGML_ASSERT" in ended and "status=6/ABRT" in ended
        fine &= seconds < 30 and board.answers()
        row(f"assertion, {threads} threads", f"healthy again after {seconds:.1f} s", "as expected" if fine else "WRONG")
        good &= fine
    board.serve()
    return good


def stopped(board: Board) -> bool:
    before, begun = board.pid(), time.time()
    board.run(f"kill -STOP {before}")
    time.sleep(1)
    seconds = board.wait_until_healthy(400) - begun
    good = board.pid() != before and board.answers()
    row("SIGSTOP, defaults", f"healthy again after {seconds:.1f} s", "as expected" if good else "WRONG")
    return good


def loading(board: Board) -> bool:
    file = "/var/lib/llama/models/large.gguf"
    local = Path(board.fleet.variable("localhost", "lab_host_cache")) / "bench/large.gguf"
    if not local.exists():
        local.parent.mkdir(exist_ok=True)
        subprocess.run(
            [sys.executable, "tests/bench/full_shape.py", str(local), "--layers", "2", "--filled"],
            cwd=PROJECT,
            check=True,
        )
    board.podman("cp", str(local), f"{CONTAINER}:{file}")
    board.run(f"chmod 0644 {file}; sync {file}; dd if={file} iflag=nocache count=0 status=none")
    target = board.run(f"readlink -f {MODEL}")
    device = subprocess.run(
        ["findmnt", "-no", "SOURCE", "-T", str(local)], check=True, capture_output=True, text=True
    ).stdout.strip()
    board.podman("update", f"--device-read-bps={device}:{BYTES_PER_SECOND}", CONTAINER)
    try:
        board.run(f"mount --bind {file} {target}")
        begun = time.time()
        board.run("systemctl restart llama-server")
        seconds = board.wait_until_healthy(900) - begun
        read = int(board.run(f"stat -c %s {file}")) / seconds
    finally:
        board.podman("update", f"--device-read-bps={device}:{10**12}", CONTAINER)
        board.run(f"systemctl stop llama-server; umount {target}; rm {file}; systemctl start llama-server")
    board.wait_until_healthy(60)
    good = board.run("systemctl show -P NRestarts llama-server") == "0" and read < 1.2 * BYTES_PER_SECOND
    row("loading at 20 MB/s", f"{seconds:.0f} s, {read / 1e6:.1f} MB/s", "no restart" if good else "WRONG")
    return good


def slow(board: Board, name: str, action: Callable[[], str]) -> bool:
    """Do something during which the server may not be restarted."""
    before, begun = board.pid(), time.time()
    said = action()
    board.wait_until_healthy(60)
    seconds = time.time() - begun
    good = board.pid() == before and board.answers()
    row(name, f"{said}{seconds:.0f} s", "no restart" if good else "WRONG")
    return good


def prompt(board: Board) -> bool:
    def action() -> str:
        board.run("systemctl set-property --runtime llama-server CPUQuota=2%")
        try:
            broke_off = board.run("python3 -c %s 8000 1", CONVERSATIONS)
        finally:
            board.run("systemctl set-property --runtime llama-server CPUQuota=")
        return "broken off, " if broke_off else ""

    return slow(board, "8,000 tokens of prompt, 2 % of a processor", action)


def paused(board: Board) -> bool:
    def action() -> str:
        board.podman("pause", CONTAINER)
        time.sleep(360)
        board.podman("unpause", CONTAINER)
        time.sleep(90)
        return "paused for 360 of "

    return slow(board, "board paused", action)


def main() -> int:
    parts = {part.__name__: part for part in (assertion, stopped, loading, prompt, paused)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=parts, action="append")
    chosen = parser.parse_args().only or parts
    board = Board()
    row("what", "how long", "")
    row("---", "---", "---")
    return 1 if False in [parts[name](board) for name in chosen] else 0


if __name__ == "__main__":
    raise SystemExit(main())
