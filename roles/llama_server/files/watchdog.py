#!/usr/bin/python3
"""Have systemd restart the server when it does not answer any more.

    watchdog URL SECONDS START_SECONDS STALLED_SECONDS

Runs within the unit of llama-server (NotifyAccess=all). The server answers URL from its main loop (handle_health in
examples/server/server.cpp posts a task and waits for its result). While a batch of a prompt is computed that waits, so
SECONDS, after which the server counts as hung, must be longer. Until the first answer the model is being loaded: that
may take START_SECONDS more.

A server that does not answer, and neither computes nor reads nor waits for a disk, is not busy: it is restarted after
STALLED_SECONDS of that. 0 switches this off.

WATCHDOG=trigger has systemd kill the unit at once (sd_notify(3)). The unit has no WatchdogSec: systemd's clock goes on
while a machine is paused, and a server that was paused with it would be killed when both go on.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path

# A proxy in the environment knows nothing of this board.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
#: Part of one processor that a server which computes uses at least. Waiting for an answer itself takes a little.
BUSY = 0.05


def answers(url: str, timeout: float) -> bool:
    """Whether the URL answers 200 in time."""
    try:
        with OPENER.open(url, timeout=timeout) as reply:
            return bool(reply.status == 200)
    except (OSError, http.client.HTTPException):
        return False


class Question(threading.Thread):
    """A question that is on its way; `answer` is None until it is there."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(daemon=True)
        self.url, self.timeout = url, timeout
        self.answer: bool | None = None
        self.start()

    def run(self) -> None:
        self.answer = answers(self.url, self.timeout)


class Process:
    """What a process has done since it was last looked at."""

    def __init__(self, folder: Path) -> None:
        """Look at it for the first time. `folder` is that of the process in /proc."""
        self.folder = folder
        self.ticks, self.read = 0, 0
        self.worked(0)

    def worked(self, seconds: float) -> bool:
        """Whether it has computed or read something in these seconds, or waits for a disk now."""
        ticks, read = self.ticks, self.read
        try:
            # Fields of proc_pid_stat(5) after the name: state is the first; majflt 12, utime 14 and stime 15 of all.
            fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
            self.ticks = int(fields[11]) + int(fields[12])
            self.read = int(fields[9]) + self._bytes()
            waits = any(self._state(thread) == "D" for thread in (self.folder / "task").iterdir())
        except OSError:
            return True  # it has ended, which systemd notices by itself
        used = (self.ticks - ticks) / os.sysconf("SC_CLK_TCK")
        return waits or self.read != read or used > BUSY * seconds

    def _bytes(self) -> int:
        """Bytes that it has read from disks, or written."""
        rows = dict(row.split(": ") for row in (self.folder / "io").read_text().splitlines())
        return int(rows["read_bytes"]) + int(rows["write_bytes"])

    @staticmethod
    def _state(thread: Path) -> str:
        try:
            return (thread / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""


def notify(state: bytes) -> None:
    """Send systemd a state."""
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):  # of the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.sendto(state, address)


def main() -> None:
    url = sys.argv[1]
    seconds, start_seconds, stalled_seconds = (float(word) for word in sys.argv[2:5])
    step = min(5.0, seconds / 8)
    # Steps are counted, not the time that passed: a machine that was paused has paused the server too.
    silent, stalled, allowed = 0.0, 0.0, start_seconds + seconds
    server = os.getppid()  # the script that started this became the server
    process, question = Process(Path(f"/proc/{server}")), Question(url, seconds)
    while os.getppid() == server:
        time.sleep(step)
        if question.answer:
            silent, stalled, allowed = 0.0, 0.0, seconds
            time.sleep(min(15.0, seconds / 8))
            process.worked(0)
        else:
            silent += step
            stalled = 0.0 if process.worked(step) else stalled + step
            if silent >= allowed or (stalled_seconds and stalled >= stalled_seconds):
                print(f"No answer for {silent:.0f} s, no work for {stalled:.0f} s: restart.", flush=True)
                notify(b"WATCHDOG=trigger")
                silent, stalled = 0.0, 0.0
        if question.answer is not None:
            question = Question(url, seconds)


if __name__ == "__main__":
    main()
