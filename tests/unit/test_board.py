"""What is read of a board, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import (
    board_faults,
    board_problems,
    board_warnings,
    cpu_features,
    eeprom_date,
    eeprom_setting,
    installed_packages,
    meminfo_mib,
    pcie_words,
    revision,
    sd_speed,
    sd_words,
    swap,
    throttled,
    virtualization,
)
from naming import unnamed

BOARD = {
    "architecture": "aarch64",
    "cpu_features": ["asimd", "asimddp"],
    "memory_mib": 16220,
    "disk_path": "/var/lib",
    "disk_free_mib": 40000,
    "disk_files_used_up": False,
    "config_txt": None,
}
NEED = {"architectures": ["aarch64"], "memory_mib": 1800, "disk_mib": 1024, "config_txt": ""}

# What a Pi 5 says that has nothing to complain of.
FINE = {
    "model": "Raspberry Pi 5 Model B Rev 1.1",
    "virtualization": "",
    "page_size": 16384,
    "numa_nodes": 8,
    "storage": {"device": "nvme0n1", "kind": "nvme", "name": "SSD", "speed": "PCIe 2 x1", "slow": False},
    "swap_files": [],
    "temperature_c": 51.2,
    "cooling": {"fan": True, "rpm": 3000, "state": 1},
    "throttled": {"raw": 0, "now": [], "since_boot": []},
    "eeprom_date": "2025-05-08",
    "sdram": {"banklow": None},
    "time_synchronised": True,
    "reboot_pending": [],
    "cgroup_controllers": ["cpu", "io", "memory"],
}
# What a container, or a machine that is no Pi, cannot know.
UNKNOWN = {
    **FINE,
    "model": "",
    "virtualization": "container",
    "page_size": 4096,
    "numa_nodes": 1,
    "storage": {"device": "", "kind": "", "name": "", "speed": "", "slow": False},
    "temperature_c": None,
    "cooling": {"fan": None, "rpm": None, "state": None},
    "throttled": {"raw": None, "now": [], "since_boot": []},
    "eeprom_date": None,
    "time_synchronised": None,
    "cgroup_controllers": [],
}


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
    ("change", "names"),
    [
        ({"architecture": "x86_64"}, ["x86_64", "aarch64", "pi_base_architectures"]),
        ({"cpu_features": ["asimd"]}, ["asimddp"]),
        ({"memory_mib": 900}, [900, 1800, "pi_base_min_memory_mib"]),
        ({"disk_free_mib": 3}, ["/var/lib", 3, 1024, "pi_base_min_disk_mib"]),
        ({"disk_files_used_up": True}, ["/var/lib", "df -i"]),
        ({"need": "/boot/firmware/config.txt"}, ["/boot/firmware/config.txt", "pi_base_config_txt_path"]),
    ],
)
def test_each_problem_is_named(change: dict[str, Any], names: list[Any]) -> None:
    problems = board_problems({**BOARD, **change}, {**NEED, "config_txt": change.get("need", "")})
    assert len(problems) == 1
    assert unnamed(problems[0], *names) == []


def test_a_good_board_has_no_problem() -> None:
    assert board_problems(BOARD, NEED) == []


def test_an_architecture_that_is_allowed_needs_no_dot_product() -> None:
    board = {**BOARD, "architecture": "x86_64", "cpu_features": []}
    assert board_problems(board, {**NEED, "architectures": ["aarch64", "x86_64"]}) == []


@pytest.mark.parametrize(
    ("text", "raw", "now", "since_boot"),
    [
        ("throttled=0x0\n", 0, [], []),
        ("throttled=0x50005\n", 0x50005, ["under-voltage", "throttled"], ["under-voltage", "throttled"]),
        (
            "throttled=0xe0008\n",
            0xE0008,
            ["soft temperature limit"],
            ["frequency capped", "throttled", "soft temperature limit"],
        ),
        ("VCHI initialization failed\n", None, [], []),
        ("", None, [], []),
    ],
)
def test_throttling_in_words(text: str, raw: int | None, now: list[str], since_boot: list[str]) -> None:
    assert throttled(text) == {"raw": raw, "now": now, "since_boot": since_boot}


def test_revision_from_the_device_tree_or_from_cpuinfo() -> None:
    assert revision(bytes.fromhex("00d04171"), "") == "d04171"
    assert revision(b"", "Hardware\t: BCM2835\nRevision\t: c04170\nSerial\t: 1\n") == "c04170"
    assert revision(b"", "processor\t: 0\n") == ""


def test_eeprom_date_from_the_device_tree_or_from_the_firmware() -> None:
    said = "2025/03/10 17:10:37\nversion 2bb2ae64 (release)\ntimestamp 1741626637\nupdate-time 0\n"
    assert eeprom_date(b"", said) == "2025-03-10"
    assert eeprom_date((1741626637).to_bytes(4, "big"), "") == "2025-03-10"
    assert eeprom_date(b"", "") is None


def test_eeprom_setting() -> None:
    said = "[all]\nBOOT_UART=1\nSDRAM_BANKLOW=3\n[gpio4=0]\nSDRAM_BANKLOW=1\n"
    assert eeprom_setting(said, "SDRAM_BANKLOW") == "1"
    assert eeprom_setting("#SDRAM_BANKLOW=1\n", "SDRAM_BANKLOW") is None


def register(**fields: int) -> str:
    """An SD status register, written bit by bit as the specification counts them: the highest first."""
    bits = {"speed": 440, "uhs": 396, "video": 384, "application": 336}
    return f"{sum(value << bits[name] for name, value in fields.items()):0128x}\n"


def test_speed_classes_of_an_sd_card() -> None:
    card = sd_speed(register(speed=4, uhs=3, video=30, application=2))
    assert card == {"class": 10, "uhs": 3, "video": 30, "application": 2}
    timing = "clock:\t\t200000000 Hz\ntiming spec:\t6 (sd uhs SDR104)\nsignal voltage:\t1 (1.80 V)\n"
    assert sd_words(card, timing) == "C10 U3 V30 A2, sd uhs SDR104"
    assert sd_words(sd_speed(register(speed=2)), "") == "C4"
    assert sd_speed("") == {}
    assert sd_words({}, "") == ""


def test_pcie_generation() -> None:
    assert pcie_words("8.0 GT/s PCIe", "1") == "PCIe 3 x1"
    assert pcie_words("5.0 GT/s PCIe", "1") == "PCIe 2 x1"
    assert pcie_words("Unknown", "") == ""


def test_swap() -> None:
    text = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/zram0                              partition\t2097136\t\t0\t\t100\n"
        "/var/swap                               file\t\t524272\t\t0\t\t-2\n"
    )
    assert swap(text) == {"mib": 2559, "zram": True, "files": ["/var/swap"]}
    assert swap(text.splitlines()[0]) == {"mib": 0, "zram": False, "files": []}


@pytest.mark.parametrize(
    ("container", "features", "dmi", "nodes", "kind"),
    [
        (True, ["hypervisor"], "QEMU", [], "container"),
        (False, ["hypervisor"], "", [], "vm"),
        (False, ["fp"], "QEMU\nQEMU Virtual Machine", [], "vm"),
        (False, ["fp"], "", ["cpus", "fw-cfg@9020000"], "vm"),
        (False, ["fp"], "", ["cpus", "soc"], ""),
        (False, ["sse2"], "LENOVO ThinkPad", [], ""),
    ],
)
def test_virtualization(container: bool, features: list[str], dmi: str, nodes: list[str], kind: str) -> None:
    assert virtualization(container, features, dmi, nodes) == kind


@pytest.mark.parametrize("board", [FINE, UNKNOWN, {**UNKNOWN, "virtualization": "vm", "temperature_c": 95.0}])
def test_nothing_is_said_of_a_board_that_is_fine_or_cannot_know(board: dict[str, Any]) -> None:
    assert board_warnings(board) == []


@pytest.mark.parametrize(
    ("change", "fault", "names"),
    [
        ({"throttled": throttled("throttled=0x10001")}, "voltage-now", ["under-voltage"]),
        ({"throttled": throttled("throttled=0x10000")}, "voltage-since-boot", ["under-voltage"]),
        ({"throttled": throttled("throttled=0x60006")}, "slow-now", ["frequency capped", "throttled"]),
        ({"throttled": throttled("throttled=0x80000")}, "slow-since-boot", ["soft temperature limit"]),
        ({"temperature_c": 84.9}, "hot", [85, 80]),
        ({"cooling": {"fan": False, "rpm": None, "state": None}}, "no-fan", ["pi_base_config_txt"]),
        ({"time_synchronised": False}, "clock", ["timedatectl set-ntp true"]),
        ({"storage": {"kind": "sd", "name": "SC16G", "speed": "C4", "slow": True}}, "slow-sd", ["SC16G", "C4"]),
        (
            {"storage": {"kind": "usb", "name": "X", "speed": "USB 480 Mbit/s", "slow": True}},
            "slow-usb",
            ["X", "USB 480 Mbit/s"],
        ),
        (
            {"storage": {"kind": "sd", "name": "S", "speed": "", "slow": False}, "swap_files": ["/var/swap"]},
            "sd-swap",
            ["/var/swap", "pi_base_swap"],
        ),
        ({"page_size": 4096}, "page-size", [4, 16]),
        ({"cgroup_controllers": ["cpu", "io", "pids"]}, "cgroup-memory", ["cgroup_enable=memory"]),
        ({"eeprom_date": "2024-09-23"}, "eeprom", ["2024-09-23"]),
        ({"numa_nodes": 1}, "sdram-banks", ["SDRAM_BANKLOW=3"]),
        ({"reboot_pending": ["config.txt (pi_base)"]}, "reboot", ["config.txt", "pi_base_allow_reboot"]),
    ],
)
def test_each_warning_is_told_once(change: dict[str, Any], fault: str, names: list[Any]) -> None:
    board = {**FINE, **change}
    ((found, sentence),) = board_faults(board)
    assert found == fault
    assert unnamed(sentence, *names) == []
    assert board_warnings(board) == [sentence]


def test_banks_that_suit_a_kernel_without_numa_are_no_reason_to_warn() -> None:
    assert board_warnings({**FINE, "numa_nodes": 1, "sdram": {"banklow": "3"}}) == []
