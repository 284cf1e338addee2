"""A board has what the other roles need, and a machine that is no board is refused."""

from __future__ import annotations

from typing import Any

import pytest


def test_packages_are_there(board: Any) -> None:
    for package in ("rsync", "libgomp1"):
        assert board.package(package).is_installed
    assert board.run("rsync --version").rc == 0


def test_the_board_is_what_the_role_asks_for(board: Any) -> None:
    assert board.check_output("uname -m") == "aarch64"
    assert "asimddp" in board.file("/proc/cpuinfo").content_string


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ('{"pi_base_architectures": ["riscv64"]}', "pi-01 cannot serve: it is aarch64, not riscv64"),
        ('{"pi_base_min_memory_mib": 99999999}', "of memory, and 99999999 MiB are asked for"),
        ('{"pi_base_min_disk_mib": 99999999}', "/var/lib has"),
        ('{"pi_base_min_disk_mib": "much"}', "pi_base_min_disk_mib"),
    ],
)
def test_refused(run_playbook: Any, variable: str, words: str) -> None:
    run = run_playbook("molecule/pi_base/converge.yml", "-e", variable)
    assert run.returncode == 2
    assert words in " ".join(run.stdout.split())
