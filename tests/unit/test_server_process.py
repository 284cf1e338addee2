"""Since when a process runs, and which one listens on a port."""

from __future__ import annotations

import os
import socket
import subprocess
import time

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.server.process import (
    listeners,
    port_owner,
    process_start,
    resident_mib,
    started_at,
)
from naming import unnamed


def test_who_listens_is_read_from_the_kernel_s_table() -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: 0100007F:1F90 00000000:0000 {} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100\n"
    assert listeners(head + row.format("0A"), 8080) == {"socket:[4711]"}
    assert listeners(head + row.format("0A"), 8081) == set()
    assert listeners(head + row.format("01"), 8080) == set()  # a connection


def test_when_a_process_was_started() -> None:
    stat = "7 (a ) name) S 1 7 7 0 -1 4194560 1 0 0 0 3 1 0 0 20 0 1 0 250 1 2 3\n"
    assert started_at(stat, 100, 40.0, 1000.0) == 962.5
    with pytest.raises(ValueError):
        started_at("", 100, 40.0, 1000.0)


def test_it_is_the_start_and_not_the_first_look() -> None:
    begun = time.time()
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            time.sleep(0.2)
            assert abs(process_start(str(process.pid)) - begun) < 0.15
        finally:
            process.kill()


def test_somebody_else_on_the_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert unnamed(port_owner(port, "no-such-unit-in-a-test.service", "/no-such-root"), os.getpid()) == []
    assert port_owner(port, "no-such-unit-in-a-test.service", "/no-such-root") == ""


def test_memory_of_a_process() -> None:
    assert resident_mib(str(os.getpid())) > 5
    assert resident_mib("0") == 0
