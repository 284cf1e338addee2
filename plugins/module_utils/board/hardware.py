"""What a board is, read from the output of kernel, firmware and dpkg, and what is wrong with it.

Sources: proc(5) (meminfo, cpuinfo, swaps), the device tree's `model`, dpkg(1) status format; the others are named at
their functions. Parsers are pure: they take the text of a file or command and give plain data. What a text does not
say is None, or empty, and nothing is concluded from it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any

#: Lets the engine's IQK kernels work on ARM: without it the binary aborts at start (hwcap name of the kernel).
DOT_PRODUCT = "asimddp"

#: Bits of `vcgencmd get_throttled`; those since boot are the same, 16 higher (Raspberry Pi documentation, vcgencmd).
THROTTLED = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")

#: The first EEPROM release of the Pi 5 with bank-low SDRAM addressing (2024-12-07) and the refresh timings of the 16 GB
#: board (2025-01-13); rpi-eeprom, firmware-2712/release-notes.md.
SDRAM_TUNED = "2025-01-13"
#: Celsius at which a Pi 5 begins to slow down (Raspberry Pi documentation, frequency management).
HOT = 80


def meminfo_mib(text: str, field: str = "MemTotal") -> int:
    """Return one field of /proc/meminfo in MiB. KeyError if the field is not there."""
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) // 1024
    raise KeyError(field)


def cpu_features(text: str) -> list[str]:
    """Return the sorted CPU features of /proc/cpuinfo: `Features` on ARM, `flags` on x86."""
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        if name.strip() in ("Features", "flags"):
            return sorted(set(rest.split()))
    return []


def revision(device_tree: bytes, cpuinfo: str) -> str:
    """Return the revision code of a Raspberry Pi as hexadecimal digits, empty elsewhere.

    Args:
        device_tree: content of `system/linux,revision` (a big-endian number), empty where there is none.
        cpuinfo: /proc/cpuinfo, whose line `Revision` says the same.
    """
    if len(device_tree) == 4:
        return f"{int.from_bytes(device_tree, 'big'):x}"
    found = re.search(r"^Revision\s*:\s*([0-9a-f]+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else ""


def installed_packages(status: str, wanted: Iterable[str]) -> list[str]:
    """Return those of `wanted` (Debian package names) that dpkg's status file calls installed."""
    missing = set(wanted)
    found = []
    for stanza in status.split("\n\n"):
        name = stanza[9 : stanza.find("\n")] if stanza.startswith("Package: ") else ""
        if name in missing and "\nStatus: install ok installed" in stanza:
            found.append(name)
    return sorted(found)


def virtualization(container: bool, features: Iterable[str], dmi: str, device_tree: Iterable[str]) -> str:
    """Return `container`, `vm`, or empty for real hardware.

    Args:
        container: whether the container's manager says so (/run/systemd/container, `container=` of process 1).
        features: of the CPU; x86 has `hypervisor` in a virtual machine.
        dmi: the firmware's vendor and product names, where there are any.
        device_tree: names at the root of the device tree; QEMU's has `fw-cfg@...`, others `hypervisor` (systemd,
            src/basic/virt.c, asks the same).
    """
    if container:
        return "container"
    names = ("QEMU", "KVM", "VMware", "VirtualBox", "innotek", "Xen", "Virtual Machine", "Bochs", "Parallels")
    nodes = list(device_tree)
    if (
        "hypervisor" in set(features)
        or any(name in dmi for name in names)
        or "hypervisor" in nodes
        or any(node.startswith("fw-cfg") for node in nodes)
    ):
        return "vm"
    return ""


def throttled(text: str) -> dict[str, Any]:
    """Return what `vcgencmd get_throttled` says (`throttled=0x50005`): `raw`, and the words `now` and `since_boot`."""
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", text)
    if not found:
        return {"raw": None, "now": [], "since_boot": []}
    raw = int(found[1], 16)
    return {
        "raw": raw,
        "now": [word for bit, word in enumerate(THROTTLED) if raw >> bit & 1],
        "since_boot": [word for bit, word in enumerate(THROTTLED) if raw >> bit + 16 & 1],
    }


def eeprom_date(device_tree: bytes, text: str) -> str | None:
    """Return the day (YYYY-MM-DD, UTC) on which the boot EEPROM was built.

    Args:
        device_tree: content of `chosen/bootloader/build-timestamp` (a big-endian number of seconds), empty where there
            is none.
        text: what `vcgencmd bootloader_version` prints, with a line `timestamp 1741626637`.
    """
    found = re.search(r"^timestamp (\d+)$", text, re.MULTILINE)
    seconds = int.from_bytes(device_tree, "big") if len(device_tree) == 4 else int(found[1]) if found else 0
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d") if seconds else None


def eeprom_setting(text: str, name: str) -> str | None:
    """Return a setting of the EEPROM's configuration (`vcgencmd bootloader_config`), the last where set twice."""
    found = re.findall(rf"^{re.escape(name)}=(\S+)$", text, re.MULTILINE)
    return found[-1] if found else None


def sd_speed(ssr: str) -> dict[str, int]:
    """Return the speed classes of an SD card, from its status register as the kernel shows it (128 digits).

    The highest bit comes first.

    Bits are those of the SD physical layer specification, 4.10.2: speed class 447:440, UHS grade 399:396, video class
    391:384, application class 339:336.

    Returns:
        `class`, `uhs`, `video`, `application`: 0 where the card has none; empty if that is no such register.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{128}", ssr.strip()):
        return {}
    register = bytes.fromhex(ssr.strip())
    return {
        "class": {1: 2, 2: 4, 3: 6, 4: 10}.get(register[8], 0),
        "uhs": register[14] >> 4,
        "video": register[15],
        "application": register[21] & 15,
    }


def sd_words(speed: dict[str, int], timing: str) -> str:
    """Return these classes as they are printed on an SD card, and the bus mode: `C10 U3 V30 A2, sd uhs SDR104`."""
    letters = {"class": "C", "uhs": "U", "video": "V", "application": "A"}
    words = [f"{letter}{speed[name]}" for name, letter in letters.items() if speed.get(name)]
    found = re.search(r"^timing spec:\s*\d+ \((.*)\)$", timing, re.MULTILINE)
    return ", ".join(part for part in (" ".join(words), found[1] if found else "") if part)


def pcie_words(speed: str, width: str) -> str:
    """Return PCIe generation and lanes from `current_link_speed` ("8.0 GT/s PCIe") and `current_link_width` ("1")."""
    found = re.match(r"([0-9.]+) GT/s", speed)
    generation = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5}.get(float(found[1])) if found else None
    return f"PCIe {generation} x{width.strip()}" if generation and width.strip().isdigit() else ""


def swap(text: str) -> dict[str, Any]:
    """Return, from /proc/swaps: `mib` in all, whether some is `zram`, and the `files` and partitions that are not."""
    lines = [line.split() for line in text.splitlines()[1:] if line.strip()]
    return {
        "mib": sum(int(line[2]) for line in lines) // 1024,
        "zram": any(line[0].startswith("/dev/zram") for line in lines),
        "files": [line[0] for line in lines if not line[0].startswith("/dev/zram")],
    }


def board_problems(board: dict[str, Any], need: dict[str, Any]) -> list[str]:
    """Return a sentence for each reason why this board cannot serve; empty if it can.

    Args:
        board: what module `board_facts` returned.
        need: `architectures` (list of names as uname gives them), `memory_mib`, `disk_mib`, `config_txt` (path of the
            firmware's configuration, empty where nothing is written into it).
    """
    problems = []
    if board["architecture"] not in need["architectures"]:
        problems.append(
            f"the architecture is {board['architecture']} (pi_base_architectures = {', '.join(need['architectures'])})."
            " Install the 64-bit system on a Raspberry Pi; other machines are not boards"
        )
    elif board["architecture"] == "aarch64" and DOT_PRODUCT not in board["cpu_features"]:
        problems.append("the CPU has no dot-product instructions (asimddp). Use a Raspberry Pi 5; a Pi 4 lacks them")
    if board["memory_mib"] < need["memory_mib"]:
        problems.append(
            f"{need['memory_mib']} MiB of memory required, {board['memory_mib']} MiB found"
            f" (pi_base_min_memory_mib = {need['memory_mib']})"
        )
    if board["disk_free_mib"] < need["disk_mib"]:
        problems.append(
            f"{need['disk_mib']} MiB of free disk space required in {board['disk_path']}, {board['disk_free_mib']} MiB"
            f" found (pi_base_min_disk_mib = {need['disk_mib']})"
        )
    if board["disk_files_used_up"]:
        problems.append(
            f"the file system of {board['disk_path']} has room for bytes, and for hardly another file"
            f" (df -i {board['disk_path']}). Remove files; often they are many small ones of a cache, or of containers"
        )
    if need["config_txt"] and board["config_txt"] is None:
        problems.append(
            f"no such file (pi_base_config_txt_path = {need['config_txt']}). Only a Raspberry Pi has one:"
            " unset pi_base_pcie_gen3 and pi_base_config_txt elsewhere"
        )
    return problems


def is_pi5(board: dict[str, Any]) -> bool:
    """Return whether this board has the Pi 5's chip (Pi 5, Compute Module 5, Pi 500), and is no container on one."""
    return board["virtualization"] == "" and bool(
        re.match(r"Raspberry Pi (5|500|Compute Module 5)\b", str(board["model"]))
    )


def board_warnings(board: dict[str, Any]) -> list[str]:
    """Return a sentence for each fault of a board that can serve all the same; empty if there is none.

    Args:
        board: what module `board_facts` returned. What it does not know is no fault.
    """
    return [sentence for _kind, sentence in board_faults(board)]


def board_faults(board: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the same, each sentence with one word for the fault."""
    faults = []
    state = board["throttled"]
    if "under-voltage" in state["now"] + state["since_boot"]:
        when = "now" if "under-voltage" in state["now"] else "since boot"
        fault = "voltage-now" if when == "now" else "voltage-since-boot"
        faults.append((fault, f"under-voltage {when}. Use a power supply of 5 V and 5 A, and a short cable"))
    for words, when in ((state["now"], "now"), (state["since_boot"], "since boot")):
        slow = [word for word in words if word != "under-voltage" and (when == "now" or word not in state["now"])]
        if slow:
            text = (
                f"{', '.join(slow)} {when}, so it is slower than it could be. Use an active cooler, and check the power"
            )
            faults.append(("slow-now" if when == "now" else "slow-since-boot", text))
    if board["temperature_c"] is not None and board["temperature_c"] >= HOT and board["virtualization"] == "":
        text = f"the chip is at {board['temperature_c']:.0f} C, and slows down from {HOT} C on. Check the cooling"
        faults.append(("hot", text))
    if board["cooling"]["fan"] is False:
        text = (
            "the firmware found no fan, and a Pi 5 under this load needs an active cooler. Install one; for a fan that"
            " is installed and not found, set pi_base_config_txt: [dtparam=cooling_fan=on]. Passive coolers are not"
            " detected"
        )
        faults.append(("no-fan", text))
    if board["time_synchronised"] is False:
        text = (
            "the clock is not synchronised, and a wrong clock makes TLS and apt fail."
            " Run timedatectl set-ntp true, and let the board reach a time server"
        )
        faults.append(("clock", text))
    controllers = board["cgroup_controllers"]
    if controllers and "memory" not in controllers and board["virtualization"] != "container":
        text = (
            "the kernel does not account for memory (cgroup_disable=memory), so the server's limit has no effect."
            " Add cgroup_enable=memory to the line in /boot/firmware/cmdline.txt, and restart"
        )
        faults.append(("cgroup-memory", text))
    faults += _storage_faults(board["storage"], board["swap_files"])
    if is_pi5(board):
        faults += _pi5_faults(board)
    if board["reboot_pending"]:
        text = (
            f"restart required for {', '.join(board['reboot_pending'])}."
            " Restart it when it suits, or set pi_base_allow_reboot"
        )
        faults.append(("reboot", text))
    return faults


def _storage_faults(storage: dict[str, Any], swap_files: list[str]) -> list[tuple[str, str]]:
    faults = []
    if storage["kind"] == "sd" and storage["slow"]:
        text = (
            f"the SD card {storage['name']} is slow ({storage['speed'] or 'no speed class'}), and a model of 12 GB"
            " takes minutes to load. Use an SD card of class A2, or NVMe"
        )
        faults.append(("slow-sd", text))
    elif storage["slow"]:
        text = f"the storage {storage['name']} is slow ({storage['speed']}). Use a blue port, which is USB 3"
        faults.append(("slow-usb", text))
    if storage["kind"] == "sd" and swap_files:
        text = (
            f"swap is on the SD card ({', '.join(swap_files)}), which is slow and wears out."
            " Set pi_base_swap to zram or off"
        )
        faults.append(("sd-swap", text))
    return faults


def _pi5_faults(board: dict[str, Any]) -> list[tuple[str, str]]:
    faults = []
    if board["page_size"] == 4096:
        text = (
            "the kernel has pages of 4 KiB; the Pi 5's own kernel (kernel_2712.img, the default of Raspberry Pi OS) has"
            " 16 KiB, which need fewer look-ups. Remove kernel=... from config.txt if nothing needs it"
        )
        faults.append(("page-size", text))
    date, banks = board["eeprom_date"], board["sdram"]["banklow"]
    if date and date < SDRAM_TUNED:
        text = (
            f"the EEPROM is of {date}; from {SDRAM_TUNED} on it uses the memory better, which generation is bound by."
            " Run sudo rpi-eeprom-update -a, and restart"
        )
        faults.append(("eeprom", text))
    elif date and banks in (None, "0", "1") and board["numa_nodes"] == 1:
        text = (
            "the EEPROM spreads the memory's banks for a kernel with NUMA emulation, and this kernel has none: reports"
            " say that programs get half of the memory's speed then. Use the kernel of Raspberry Pi OS, or set"
            " SDRAM_BANKLOW=3 (sudo rpi-eeprom-config --edit)"
        )
        faults.append(("sdram-banks", text))
    return faults
