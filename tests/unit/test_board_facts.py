"""The look at a board, on trees of files like those of a Pi 5, a container and a PC. None was copied from a real Pi."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EVERYWHERE = {
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\n",
    "proc/meminfo": "MemTotal:       16609280 kB\nMemAvailable:   8192000 kB\n",
    "proc/swaps": "Filename Type Size Used Priority\n",
    "proc/uptime": "4711.25 18000.00\n",
    "proc/sys/vm/swappiness": "60\n",
    "var/lib/dpkg/status": "Package: rsync\nStatus: install ok installed\n",
}
PI = {
    **EVERYWHERE,
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.1\0",
    "proc/device-tree/system/linux,revision": b"\x00\xd0\x41\x71",
    "proc/device-tree/chosen/bootloader/build-timestamp": (1741626637).to_bytes(4, "big"),
    "proc/device-tree/cooling_fan/status": "okay\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51250\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "1\n",
    "sys/devices/platform/cooling_fan/hwmon/hwmon2/fan1_input": "2980\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "ondemand\n",
    "sys/devices/system/node/node0/cpulist": "0-3\n",
    "sys/devices/system/node/node1/cpulist": "0-3\n",
    "boot/firmware/config.txt": "# Written by Ansible: begin\n[all]\nx=1\n# Written by Ansible: end\n",
    "usr/lib/systemd/system-generators/rpi-swap-generator": "",
    "etc/sysctl.d/99-ik-llama-pi.conf": "vm.swappiness = 10\n",
    "run/systemd/timesync/synchronized": "",
}


@pytest.fixture
def look(plugin: Callable[[str, str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Create a tree, and look at it. `disk` is the folder in /sys that the path /var/lib is to be on."""
    module = plugin("modules", "board_facts")

    def at(files: dict[str, str | bytes], disk: str = "", answers: dict[str, str] | None = None) -> dict[str, Any]:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if disk:
            number = os.stat("/").st_dev
            link = tmp_path / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(tmp_path / disk)
        looking = module.Reader(tmp_path)
        monkeypatch.setattr(looking, "firmware", lambda command: (answers or {}).get(command, ""))
        found: dict[str, Any] = looking.board(
            disk_path="/",
            packages=["rsync", "libgomp1"],
            config_txt="/boot/firmware/config.txt",
            cpufreq="/sys/devices/system/cpu/cpufreq",
        )
        return found

    return at


def test_a_pi(look: Any) -> None:
    board = look(PI, answers={"get_throttled": "throttled=0x50000\n", "bootloader_config": "SDRAM_BANKLOW=1\n"})
    expected = {
        "model": "Raspberry Pi 5 Model B Rev 1.1",
        "revision": "d04171",
        "virtualization": "",
        "is_pi": True,
        "memory_mib": 16220,
        "memory_available_mib": 8000,
        "numa_nodes": 2,
        "temperature_c": 51.2,
        "cooling": {"fan": True, "rpm": 2980, "state": 1},
        "throttled": {"raw": 0x50000, "now": [], "since_boot": ["under-voltage", "throttled"]},
        "eeprom_date": "2025-03-10",
        "sdram": {"banklow": "1"},
        "time_synchronised": True,
        "governor": "ondemand",
        "swappiness": 60,
        "swap_mib": 0,
        "zram": False,
        "uptime_s": 4711,
        "packages_missing": ["libgomp1"],
        "reboot_pending": [],
        "settings": {"/etc/sysctl.d/99-ik-llama-pi.conf": "vm.swappiness = 10"},
        "config_txt": ["[all]", "x=1"],
        "systems": ["rpi-swap"],
    }
    assert {name: board[name] for name in expected} == expected


def test_a_pi_without_a_fan(look: Any) -> None:
    none = {name: text for name, text in PI.items() if not name.startswith("sys/") or "cooling" not in name}
    assert look(none)["cooling"] == {"fan": False, "rpm": None, "state": None}


def test_a_pi_whose_kernel_knows_of_no_fan(look: Any) -> None:
    unknown = {name: text for name, text in PI.items() if "cooling" not in name}
    assert look(unknown)["cooling"]["fan"] is None


def test_a_container(look: Any) -> None:
    board = look({**EVERYWHERE, "run/systemd/container": "podman"})
    unknown = {
        "virtualization": "container",
        "is_pi": False,
        "model": "",
        "revision": "",
        "temperature_c": None,
        "cooling": {"fan": None, "rpm": None, "state": None},
        "throttled": {"raw": None, "now": [], "since_boot": []},
        "eeprom_date": None,
        "time_synchronised": None,
        "governor": "",
        "config_txt": None,
        "systems": [],
    }
    assert {name: board[name] for name in unknown} == unknown
    assert board["storage"] == {"device": "", "kind": "", "name": "", "speed": "", "slow": False}


def test_a_container_that_only_process_1_knows_of(look: Any) -> None:
    assert look({**EVERYWHERE, "proc/1/environ": b"A=1\0container=podman\0"})["virtualization"] == "container"


def test_a_virtual_machine_on_a_pc(look: Any) -> None:
    cpuinfo = "processor\t: 0\nflags\t\t: sse2 hypervisor\n"
    board = look({**EVERYWHERE, "proc/cpuinfo": cpuinfo, "sys/class/thermal/thermal_zone0/temp": "bad\n"})
    assert (board["virtualization"], board["is_pi"], board["temperature_c"]) == ("vm", False, None)


def test_a_restart_that_is_due(look: Any) -> None:
    why = "config.txt (pi_base)\nlinux-image\nlinux-image\n"
    board = look({**EVERYWHERE, "run/reboot-required": "*\n", "run/reboot-required.pkgs": why})
    assert board["reboot_pending"] == ["config.txt (pi_base)", "linux-image"]


def test_an_sd_card(look: Any) -> None:
    card = "sys/devices/platform/axi/1000fff000.mmc/mmc_host/mmc0/mmc0:aaaa"
    disk = f"{card}/block/mmcblk0/mmcblk0p2"
    register = f"{(4 << 440) + (1 << 396) + (10 << 384) + (1 << 336):0128x}\n"
    files = {
        f"{disk}/partition": "2\n",
        f"{card}/block/mmcblk0/device/type": "SD\n",
        f"{card}/block/mmcblk0/device/name": "SR32G\n",
        f"{card}/block/mmcblk0/device/ssr": register,
        "sys/kernel/debug/mmc0/ios": "timing spec:\t6 (sd uhs SDR104)\n",
    }
    assert look({**PI, **files}, disk)["storage"] == {
        "device": "mmcblk0",
        "kind": "sd",
        "name": "SR32G",
        "speed": "C10 U1 V10 A1, sd uhs SDR104",
        "slow": False,
    }


def test_an_nvme_drive(look: Any, tmp_path: Path) -> None:
    port = "sys/devices/platform/axi/1000110000.pcie/pci0001:00/0001:01:00.0"
    disk = f"{port}/nvme/nvme0/nvme0n1"
    files = {
        f"{port}/current_link_speed": "8.0 GT/s PCIe\n",
        f"{port}/current_link_width": "1\n",
        f"{port}/nvme/nvme0/model": "FAST 512    \n",
        f"{disk}/nvme0n1p2/partition": "2\n",
    }
    (tmp_path / disk).mkdir(parents=True)
    (tmp_path / port / "nvme/nvme0/device").symlink_to("../..")
    (tmp_path / "sys/class/nvme").mkdir(parents=True)
    (tmp_path / "sys/class/nvme/nvme0").symlink_to(tmp_path / port / "nvme/nvme0")
    storage = look({**PI, **files}, f"{disk}/nvme0n1p2")["storage"]
    assert storage == {"device": "nvme0n1", "kind": "nvme", "name": "FAST 512", "speed": "PCIe 3 x1", "slow": False}


@pytest.mark.parametrize(("rate", "slow"), [("480", True), ("5000", False)])
def test_a_usb_drive(look: Any, rate: str, slow: bool) -> None:
    port = "sys/devices/platform/axi/xhci/usb2/2-1"
    disk = f"{port}/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda"
    files = {f"{port}/bcdDevice": "0100\n", f"{port}/speed": f"{rate}\n", f"{disk}/device/model": "Stick\n"}
    storage = look({**PI, **files}, disk)["storage"]
    assert (storage["kind"], storage["name"], storage["slow"]) == ("usb", "Stick", slow)
    assert storage["speed"] == f"USB {rate} Mbit/s"


def test_a_logical_volume_is_on_the_disk_below_it(look: Any, tmp_path: Path) -> None:
    disk = "sys/devices/pci0/virtio1/block/vda"
    volume = "sys/devices/virtual/block/dm-0"
    (tmp_path / volume / "slaves").mkdir(parents=True)
    (tmp_path / volume / "slaves/vda2").symlink_to(tmp_path / disk / "vda2")
    storage = look({**EVERYWHERE, f"{disk}/vda2/partition": "2\n"}, volume)["storage"]
    assert (storage["device"], storage["kind"]) == ("vda", "virtual")


def test_a_file_system_with_a_number_of_its_own_is_found_in_the_mount_table(look: Any, tmp_path: Path) -> None:
    mounts = "30 1 0:27 / / rw - btrfs /dev/vda3 rw\n31 30 0:5 / /proc rw - proc proc rw\n"
    disk = "sys/devices/pci0/virtio1/block/vda/vda3"
    (tmp_path / "sys/class/block").mkdir(parents=True)
    (tmp_path / "sys/class/block/vda3").symlink_to(tmp_path / disk)
    board = look({**EVERYWHERE, "proc/self/mountinfo": mounts, f"{disk}/partition": "3\n"})
    assert board["storage"]["device"] == "vda"


def test_this_machine_answers(plugin: Callable[[str, str], ModuleType]) -> None:
    board = plugin("modules", "board_facts").Reader().board("/var/lib", [], "/nowhere/config.txt", "/nowhere")
    assert board["memory_mib"] > 100
    assert board["disk_free_mib"] <= board["disk_total_mib"]
    assert board["is_pi"] == board["model"].startswith("Raspberry Pi")
