#!/usr/bin/python3
"""Report to systemd that the server is alive, as long as it is.

    watchdog URL SECONDS START_SECONDS

Runs within the unit of llama-server (NotifyAccess=all) and sends WATCHDOG=1 whenever URL answers 200, which the server
does from its main loop (handle_health in examples/server/server.cpp posts a task and waits for its result). While a
batch of a prompt is computed that waits, so SECONDS, after which systemd kills the unit (WatchdogSec), must be longer.
Until the first answer the model is being loaded: it is alive then for START_SECONDS at most.
"""

import os
import socket
import sys
import time
import urllib.request

# A proxy in the environment knows nothing of this board.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str, timeout: float) -> bool:
    """Whether the URL answers 200 in time."""
    try:
        with OPENER.open(url, timeout=timeout) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def main() -> None:
    url, seconds, start_seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):  # of the abstract namespace
        address = "\0" + address[1:]
    begun = time.monotonic()
    ready = False
    server = os.getppid()  # the script that started this became the server
    while os.getppid() == server:
        if answers(url, seconds / 2):
            ready = True
        elif ready or time.monotonic() - begun > start_seconds:
            time.sleep(1)
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(b"WATCHDOG=1", address)
        time.sleep(min(60.0, seconds / 8))


if __name__ == "__main__":
    main()
