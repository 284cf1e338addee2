#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: get facts about a board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: board_facts
short_description: Get facts about a board
description:
  - Reads what the roles need to know of a board from the kernel's and dpkg's own files, and from the firmware where
    C(vcgencmd) is there.
  - Returns it as the fact C(pi_base_board), so that it is read once for all roles.
  - What cannot be known, as in a container or on another machine, is null or empty.
options:
  disk_path:
    description: Folder whose file system is described. Where it does not exist yet, its nearest parent is.
    type: path
    default: /var/lib
  packages:
    description: Debian packages that should be there.
    type: list
    elements: str
    default: []
  config_txt:
    description: The firmware's configuration.
    type: path
    default: /boot/firmware/config.txt
  cpufreq:
    description: The kernel's folder of CPU frequency policies.
    type: path
    default: /sys/devices/system/cpu/cpufreq
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Get board facts
  ik_llama.pi.board_facts:
    packages: [rsync]
"""

RETURN = """
ansible_facts:
  description: The board, under C(pi_base_board).
  returned: always
  type: dict
  contains:
    pi_base_board:
      type: dict
      description: >-
        root (whether the task is root), model (device tree, empty where there is none), revision (hexadecimal),
        virtualization ('', container, vm), is_pi, architecture, kernel, cores, cpu_features, memory_mib,
        memory_available_mib, page_size, numa_nodes, disk_path, disk_free_mib, disk_files_used_up (no room for more
        files), disk_total_mib, storage (device, kind, name, speed, slow), temperature_c, cooling (fan, rpm, state),
        throttled (raw, now, since_boot), eeprom_date, sdram (banklow), time_synchronised, governor,
        cgroup_controllers, swappiness, swap_mib, swap_files, zram, uptime_s, packages_missing, reboot_pending,
        settings (text of each of the files that the role writes, by
        path), config_txt (the role's lines in it; null where there is no such file), systems (what manages swap).
"""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.board import hardware as board
from ansible_collections.ik_llama.pi.plugins.module_utils.board.settings import BEGIN, END, FILES, SWAP_SYSTEMS
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import existing_parent, files_used_up


class Reader:
    """Reads one board. `root` is where its file systems begin."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin", "/opt/vc/bin"))

    def bytes(self, path: str) -> bytes:
        """Return the content of a file, empty if it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_bytes()
        except OSError:
            return b""

    def text(self, path: str) -> str:
        """Return the text of a file, empty if it cannot be read."""
        return self.bytes(path).decode("utf-8", "replace").replace("\0", "").strip("\n")

    def number(self, path: str) -> int | None:
        """Return the number that a file consists of, or None."""
        text = self.text(path).strip()
        return int(text) if re.fullmatch(r"-?\d+", text) else None

    def here(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))

    def find(self, folder: str, pattern: str) -> list[str]:
        """Return the paths below a folder that match, sorted."""
        where = self.root / folder.lstrip("/")
        return sorted(f"/{path.relative_to(self.root)}" for path in where.glob(pattern)) if where.is_dir() else []

    def firmware(self, command: str) -> str:
        """Return what `vcgencmd` answers, empty where there is none or it fails."""
        program = shutil.which("vcgencmd", path=self.path)
        if not program:
            return ""
        try:
            asked = subprocess.run([program, command], capture_output=True, text=True, check=False, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return asked.stdout if asked.returncode == 0 else ""

    def container(self) -> bool:
        """Return whether this is a container, as its manager says; /proc/1/environ is for root only."""
        marks = ("/run/systemd/container", "/run/.containerenv", "/.dockerenv")
        first = self.bytes("/proc/1/environ")
        return any(self.here(mark) for mark in marks) or first.startswith(b"container=") or b"\0container=" in first

    def temperature(self) -> float | None:
        """Return the temperature (Celsius) of the processor, or of the first sensor that has one."""
        zones = self.find("/sys/class/thermal", "thermal_zone*")
        zones.sort(key=lambda zone: not re.search("cpu|soc|pkg", self.text(f"{zone}/type")))
        for zone in zones:
            value = self.number(f"{zone}/temp")
            if value is not None:
                return round(value / 1000, 1)
        return None

    def cooling(self, pi5: bool) -> dict[str, Any]:
        """Return `fan` (None where it cannot be known), `rpm` and `state`.

        The Pi 5's firmware looks for one at each start, and enables the device tree's node `cooling_fan` if one turns
        (rpi-eeprom, issue 709). A kernel whose device tree lacks that node cannot know.
        """
        fans = [
            device
            for device in self.find("/sys/class/thermal", "cooling_device*")
            if self.text(f"{device}/type") in ("pwm-fan", "gpio-fan", "rpi-poe-fan")
        ]
        turns = self.find("/sys/devices/platform/cooling_fan", "hwmon/hwmon*/fan1_input")
        return {
            "fan": True if fans else False if pi5 and self.here("/proc/device-tree/cooling_fan") else None,
            "rpm": self.number(turns[0]) if turns else None,
            "state": self.number(f"{fans[0]}/cur_state") if fans else None,
        }

    def device_of(self, where: Path) -> str:
        """Return the disk that a path is on, as its folder in /sys; empty where no single one is known."""
        number = os.stat(where).st_dev
        link = self.root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
        if not link.exists():
            # Some file systems have another number: then the mount table names the device.
            mounts = (line.split() for line in self.text("/proc/self/mountinfo").splitlines())
            found = [
                (len(words[4]), words[words.index("-") + 2])
                for words in mounts
                if os.path.commonpath([words[4], str(where)]) == words[4]
            ]
            source = max(found)[1] if found else ""
            link = self.root / "sys/class/block" / Path(source).name
            if not source.startswith("/dev/") or not link.exists():
                return ""
        device = link.resolve()
        while True:
            below = sorted((device / "slaves").glob("*")) if (device / "slaves").is_dir() else []
            if (device / "partition").exists():
                device = device.parent
            elif below:
                device = below[0].resolve()
            else:
                return f"/{device.relative_to(self.root.resolve())}"

    def storage(self, where: Path) -> dict[str, Any]:
        """Return what the disk is: `kind` (sd, emmc, nvme, usb, sata, virtual, empty), `slow` if it is known to be."""
        device = self.device_of(where)
        name = Path(device).name
        disk = {
            "device": name,
            "kind": "",
            "name": self.text(f"{device}/device/model").strip(),
            "speed": "",
            "slow": False,
        }
        if name.startswith("mmcblk"):
            card = f"{device}/device"
            disk["name"] = self.text(f"{card}/name").strip()
            disk["kind"] = {"SD": "sd", "MMC": "emmc"}.get(self.text(f"{card}/type"), "")
            classes = board.sd_speed(self.text(f"{card}/ssr"))
            host = re.search(r"/mmc_host/(mmc\d+)/", device)
            disk["speed"] = board.sd_words(classes, self.text(f"/sys/kernel/debug/{host[1]}/ios") if host else "")
            disk["slow"] = disk["kind"] == "sd" and bool(classes) and not classes["uhs"] and not classes["application"]
        elif name.startswith("nvme"):
            disk["kind"] = "nvme"
            # The drive's controller, and the PCI device that it is.
            controller = "/sys/class/nvme/" + re.sub(r"n\d+$", "", name)
            speed, width = (self.text(f"{controller}/device/current_link_{what}") for what in ("speed", "width"))
            disk["name"] = self.text(f"{controller}/model").strip()
            disk["speed"] = board.pcie_words(speed, width)
        elif re.match(r"vd|xvd|loop", name) or "/virtio" in device:
            disk["kind"] = "virtual"
        elif "/usb" in device:
            disk["kind"] = "usb"
            folders = [Path(device), *Path(device).parents]
            rates = [self.number(f"{folder}/speed") for folder in folders if self.here(f"{folder}/bcdDevice")]
            if rates and rates[0]:
                disk["speed"] = f"USB {rates[0]} Mbit/s"
                disk["slow"] = rates[0] <= 480
        elif "/ata" in device:
            disk["kind"] = "sata"
        return disk

    def time_synchronised(self, container: bool) -> bool | None:
        """Return whether the kernel's clock follows a time server. A container's clock is that of its host."""
        if self.here("/run/systemd/timesync/synchronized"):
            return True
        return None if container else clock_is_synchronised()

    def reboot_pending(self) -> list[str]:
        """Return the reasons for a pending restart (Debian: /run/reboot-required, /run/reboot-required.pkgs)."""
        why = sorted(set(self.text("/run/reboot-required.pkgs").splitlines()))
        return (why or ["what was installed"]) if self.here("/run/reboot-required") else []

    def board(self, disk_path: str, packages: list[str], config_txt: str, cpufreq: str) -> dict[str, Any]:
        cpuinfo, meminfo = self.text("/proc/cpuinfo"), self.text("/proc/meminfo")
        model = self.text("/proc/device-tree/model")
        features = board.cpu_features(cpuinfo)
        container = self.container()
        kind = board.virtualization(
            container,
            features,
            self.text("/sys/class/dmi/id/sys_vendor") + self.text("/sys/class/dmi/id/product_name"),
            [Path(path).name for path in self.find("/proc/device-tree", "*")],
        )
        where = existing_parent(disk_path)
        disk = os.statvfs(where)
        swap = board.swap(self.text("/proc/swaps"))
        version = self.bytes("/proc/device-tree/chosen/bootloader/build-timestamp")
        governors = {self.text(path) for path in self.find(cpufreq, "policy*/scaling_governor")}
        config = self.text(config_txt)
        uname = os.uname()
        here = {
            "root": os.geteuid() == 0,
            "model": model,
            "revision": board.revision(self.bytes("/proc/device-tree/system/linux,revision"), cpuinfo),
            "virtualization": kind,
            "is_pi": model.startswith("Raspberry Pi"),
            "architecture": uname.machine,
            "kernel": uname.release,
            "cores": os.cpu_count(),
            "cpu_features": features,
            "memory_mib": board.meminfo_mib(meminfo),
            "memory_available_mib": board.meminfo_mib(meminfo, "MemAvailable"),
            "page_size": os.sysconf("SC_PAGE_SIZE"),
            "numa_nodes": len(self.find("/sys/devices/system/node", "node[0-9]*")) or 1,
            "disk_path": disk_path,
            "disk_free_mib": disk.f_bavail * disk.f_frsize >> 20,
            "disk_files_used_up": files_used_up(disk),
            "disk_total_mib": disk.f_blocks * disk.f_frsize >> 20,
            "storage": self.storage(where),
            "temperature_c": self.temperature(),
            "throttled": board.throttled(self.firmware("get_throttled")),
            "eeprom_date": board.eeprom_date(version, "" if version else self.firmware("bootloader_version")),
            "sdram": {"banklow": board.eeprom_setting(self.firmware("bootloader_config"), "SDRAM_BANKLOW")},
            "time_synchronised": self.time_synchronised(container),
            "governor": ", ".join(sorted(governors)),
            "cgroup_controllers": self.text("/sys/fs/cgroup/cgroup.controllers").split(),
            "swappiness": self.number("/proc/sys/vm/swappiness"),
            "swap_mib": swap["mib"],
            "swap_files": swap["files"],
            "zram": swap["zram"],
            "uptime_s": int(float((self.text("/proc/uptime") or "0").split()[0])),
            "packages_missing": sorted(
                set(packages) - set(board.installed_packages(self.text("/var/lib/dpkg/status"), packages))
            ),
            "reboot_pending": self.reboot_pending(),
            "settings": {path: self.text(path) for paths in FILES.values() for path in paths if self.here(path)},
            "config_txt": block_of(config) if self.here(config_txt) else None,
            "systems": [name for name, paths in SWAP_SYSTEMS.items() if any(self.here(path) for path in paths)],
        }
        return {**here, "cooling": self.cooling(board.is_pi5(here))}


def block_of(text: str) -> list[str]:
    """Return the lines between the role's two marks, empty if there are none."""
    _before, begin, rest = text.partition(BEGIN + "\n")
    return rest.partition(END)[0].splitlines() if begin else []


def clock_is_synchronised() -> bool | None:
    """Return whether the kernel's clock is synchronised, whoever does it (adjtimex(2)); None if it does not say."""

    class Timex(ctypes.Structure):
        _fields_ = [
            ("modes", ctypes.c_uint),
            *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_byte * 256),
        ]

    clock = Timex()
    try:
        answer = ctypes.CDLL(None).adjtimex(ctypes.byref(clock))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else not clock.status & 0x40


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "disk_path": {"type": "path", "default": "/var/lib"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "config_txt": {"type": "path", "default": "/boot/firmware/config.txt"},
            "cpufreq": {"type": "path", "default": "/sys/devices/system/cpu/cpufreq"},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, ansible_facts={"pi_base_board": Reader().board(**module.params)})


if __name__ == "__main__":
    main()
