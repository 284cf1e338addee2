"""What a board is, read from the kernel's and dpkg's own files, and what keeps it from serving.

Sources: proc(5) (meminfo, cpuinfo), the device tree's `model` property, dpkg(1) status format.
All functions are pure: they take the text of a file and give plain data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: Lets the engine's IQK kernels work on ARM: without it the binary aborts at start (hwcap name of the kernel).
DOT_PRODUCT = "asimddp"


def meminfo_mib(text: str, field: str = "MemTotal") -> int:
    """MiB of one field of /proc/meminfo. KeyError if the field is not there."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) // 1024
    raise KeyError(field)


def cpu_features(text: str) -> list[str]:
    """Sorted CPU features of /proc/cpuinfo: `Features` on ARM, `flags` on x86."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name.strip() in ("Features", "flags"):
            return sorted(set(rest.split()))
    return []


def installed_packages(status: str, wanted: Iterable[str]) -> list[str]:
    """Those of `wanted` (Debian package names) that dpkg's status file calls installed."""
    missing = set(wanted)
    found = []
    for stanza in status.split("\n\n"):
        name = stanza[9 : stanza.find("\n")] if stanza.startswith("Package: ") else ""
        if name in missing and "\nStatus: install ok installed" in stanza:
            found.append(name)
    return sorted(found)


def board_problems(board: dict[str, Any], need: dict[str, Any]) -> list[str]:
    """Sentences, one for each reason why this board cannot serve; empty if it can.

    Args:
        board: what module `board_facts` returned.
        need: `architectures` (list of names as uname gives them), `memory_mib`, `disk_mib`.
    """
    problems = []
    if board["architecture"] not in need["architectures"]:
        problems.append(
            f"it is {board['architecture']}, not {' or '.join(need['architectures'])}"
            " (pi_base_architectures): a Raspberry Pi needs the 64-bit system,"
            " any other machine does not belong into the group of the boards"
        )
    elif board["architecture"] == "aarch64" and DOT_PRODUCT not in board["cpu_features"]:
        problems.append("its CPU has no dot-product instructions (asimddp): a Raspberry Pi 5 has them, a Pi 4 does not")
    if board["memory_mib"] < need["memory_mib"]:
        problems.append(
            f"it has {board['memory_mib']} MiB of memory, and {need['memory_mib']} MiB are asked for"
            " (pi_base_min_memory_mib)"
        )
    if board["disk_free_mib"] < need["disk_mib"]:
        problems.append(
            f"{board['disk_path']} has {board['disk_free_mib']} MiB free, and {need['disk_mib']} MiB are asked for"
            " (pi_base_min_disk_mib)"
        )
    return problems
