"""Processes of this board: since when one runs, what it uses, and which one listens on a port."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_text


def listeners(table: str, port: int) -> set[str]:
    """Return what listens on a TCP port: `socket:[inode]`, as links in /proc/PID/fd name it.

    Args:
        table: text of /proc/net/tcp and tcp6 (proc(5)): local address in hex, state 0A is LISTEN, inode in field 10.
    """
    rows = (line.split() for line in table.splitlines())
    return {
        f"socket:[{row[9]}]"
        for row in rows
        if len(row) > 9 and row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port
    }


def port_owner(port: int, unit: str, root: str) -> str:
    """Return name and number of the process that listens on a port; empty if none does, or the server itself.

    Args:
        unit: name of the server's systemd unit.
        root: folder below which the server works.
    """
    inodes = listeners("\n".join(read_text(f"/proc/net/{kind}") for kind in ("tcp", "tcp6")), port)
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & {_link(entry) for entry in process.glob("fd/*")}:
            own = f"/{unit}" in read_text(process / "cgroup") or _link(process / "cwd").startswith(f"{root}/")
            return "" if own else f"{read_text(process / 'comm').strip()} (process {process.name})"
    return "another program"


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def started_at(stat: str, ticks: int, since_boot: float, now: float) -> float:
    """Return when a process was started (epoch, seconds).

    Its folder in /proc only has the time of the first access to it. Counted from the boot, the start is right even
    where the clock was set since (a Pi has no battery for one).

    Args:
        stat: text of /proc/PID/stat (proc(5)); field 22 is the start, in ticks after the boot.
        ticks: per second (sysconf SC_CLK_TCK).
        since_boot: seconds since the boot, now (CLOCK_BOOTTIME).
        now: the time (epoch).

    Raises:
        ValueError: if the text has another form.
    """
    fields = stat.rpartition(")")[2].split()  # the name before it may contain spaces; field 3 is the first after it
    if len(fields) < 20:
        raise ValueError("not the text of /proc/PID/stat")
    return now - since_boot + int(fields[19]) / ticks


def process_start(pid: str) -> float:
    """Return when a process was started (epoch, seconds). OSError or ValueError if there is none."""
    return started_at(
        Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"),
        os.sysconf("SC_CLK_TCK"),
        time.clock_gettime(time.CLOCK_BOOTTIME),
        time.time(),
    )


def resident_mib(pid: str) -> int:
    """Return the memory that a process uses now, in MiB; 0 if there is none."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", read_text(f"/proc/{pid}/status"), re.M)
    return int(found[1]) >> 10 if found else 0
