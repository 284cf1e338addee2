"""What is read of a board, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.board import board_problems, cpu_features, installed_packages, meminfo_mib

BOARD = {
    "architecture": "aarch64",
    "cpu_features": ["asimd", "asimddp"],
    "memory_mib": 16220,
    "disk_path": "/var/lib",
    "disk_free_mib": 40000,
}
NEED = {"architectures": ["aarch64"], "memory_mib": 1800, "disk_mib": 1024}


def test_meminfo() -> None:
    text = "MemTotal:       16609280 kB\nMemFree:         1 kB\n"
    assert meminfo_mib(text) == 16220
    with pytest.raises(KeyError):
        meminfo_mib(text, "SwapTotal")


def test_cpu_features_of_arm_and_x86() -> None:
    assert cpu_features("processor\t: 0\nFeatures\t: fp asimd asimddp\n") == ["asimd", "asimddp", "fp"]
    assert cpu_features("flags\t\t: sse2 avx2\n") == ["avx2", "sse2"]
    assert cpu_features("") == []


def test_installed_packages_are_those_that_dpkg_calls_installed() -> None:
    status = (
        "Package: rsync\nStatus: install ok installed\nVersion: 3\n\n"
        "Package: curl\nStatus: deinstall ok config-files\n\n"
        "Package: rsync-doc\nStatus: install ok installed\n"
    )
    assert installed_packages(status, ["rsync", "curl", "libgomp1"]) == ["rsync"]
    assert installed_packages("", ["rsync"]) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "x86_64"}, "it is x86_64, not aarch64 (pi_base_architectures)"),
        ({"cpu_features": ["asimd"]}, "no dot-product"),
        ({"memory_mib": 900}, "900 MiB of memory, and 1800 MiB"),
        ({"disk_free_mib": 3}, "/var/lib has 3 MiB free"),
    ],
)
def test_each_problem_is_named(change: dict[str, Any], words: str) -> None:
    problems = board_problems({**BOARD, **change}, NEED)
    assert len(problems) == 1
    assert words in problems[0]


def test_a_good_board_has_no_problem() -> None:
    assert board_problems(BOARD, NEED) == []


def test_an_architecture_that_is_allowed_needs_no_dot_product() -> None:
    board = {**BOARD, "architecture": "x86_64", "cpu_features": []}
    assert board_problems(board, {**NEED, "architectures": ["aarch64", "x86_64"]}) == []
