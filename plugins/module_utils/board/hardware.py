"""What a board is, read from the kernel's, the firmware's and dpkg's own words, and what is wrong with it.

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


def revision(device_tree: bytes, cpuinfo: str) -> str:
    """Revision code of a Raspberry Pi as hexadecimal digits, empty elsewhere.

    Args:
        device_tree: content of `system/linux,revision` (a big-endian number), empty where there is none.
        cpuinfo: /proc/cpuinfo, whose line `Revision` says the same.
    """
    if len(device_tree) == 4:
        return f"{int.from_bytes(device_tree, 'big'):x}"
    found = re.search(r"^Revision\s*:\s*([0-9a-f]+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else ""


def installed_packages(status: str, wanted: Iterable[str]) -> list[str]:
    """Those of `wanted` (Debian package names) that dpkg's status file calls installed."""
    missing = set(wanted)
    found = []
    for stanza in status.split("\n\n"):
        name = stanza[9 : stanza.find("\n")] if stanza.startswith("Package: ") else ""
        if name in missing and "\nStatus: install ok installed" in stanza:
            found.append(name)
    return sorted(found)


def virtualization(container: bool, features: Iterable[str], dmi: str, device_tree: Iterable[str]) -> str:
    """`container`, `vm`, or empty for a machine of its own.

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
    """What `vcgencmd get_throttled` says (`throttled=0x50005`): `raw`, and the words `now` and `since_boot`."""
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
    """Day (YYYY-MM-DD, UTC) on which the boot EEPROM was built.

    Args:
        device_tree: content of `chosen/bootloader/build-timestamp` (a big-endian number of seconds), empty where there
            is none.
        text: what `vcgencmd bootloader_version` prints, with a line `timestamp 1741626637`.
    """
    found = re.search(r"^timestamp (\d+)$", text, re.MULTILINE)
    seconds = int.from_bytes(device_tree, "big") if len(device_tree) == 4 else int(found[1]) if found else 0
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d") if seconds else None


def eeprom_setting(text: str, name: str) -> str | None:
    """A setting of the EEPROM's configuration (`vcgencmd bootloader_config`), the last one where it is set twice."""
    found = re.findall(rf"^{re.escape(name)}=(\S+)$", text, re.MULTILINE)
    return found[-1] if found else None


def sd_speed(ssr: str) -> dict[str, int]:
    """Speed classes of an SD card, from its SD status register as the kernel shows it (128 digits, highest bit first).

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
    """Those classes as they are printed on a card, and how the board talks to it: `C10 U3 V30 A2, sd uhs SDR104`."""
    letters = {"class": "C", "uhs": "U", "video": "V", "application": "A"}
    words = [f"{letter}{speed[name]}" for name, letter in letters.items() if speed.get(name)]
    found = re.search(r"^timing spec:\s*\d+ \((.*)\)$", timing, re.MULTILINE)
    return ", ".join(part for part in (" ".join(words), found[1] if found else "") if part)


def pcie_words(speed: str, width: str) -> str:
    """PCIe generation and lanes from `current_link_speed` ("8.0 GT/s PCIe") and `current_link_width` ("1")."""
    found = re.match(r"([0-9.]+) GT/s", speed)
    generation = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5}.get(float(found[1])) if found else None
    return f"PCIe {generation} x{width.strip()}" if generation and width.strip().isdigit() else ""


def swap(text: str) -> dict[str, Any]:
    """From /proc/swaps: `mib` in all, whether some is `zram`, and the `files` and partitions that are not."""
    lines = [line.split() for line in text.splitlines()[1:] if line.strip()]
    return {
        "mib": sum(int(line[2]) for line in lines) // 1024,
        "zram": any(line[0].startswith("/dev/zram") for line in lines),
        "files": [line[0] for line in lines if not line[0].startswith("/dev/zram")],
    }


def board_problems(board: dict[str, Any], need: dict[str, Any]) -> list[str]:
    """Sentences, one for each reason why this board cannot serve; empty if it can.

    Args:
        board: what module `board_facts` returned.
        need: `architectures` (list of names as uname gives them), `memory_mib`, `disk_mib`, `config_txt` (path of the
            firmware's configuration, empty where nothing shall be written into it).
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
    if need["config_txt"] and board["config_txt"] is None:
        problems.append(
            f"there is no {need['config_txt']} (pi_base_config_txt_path) for what pi_base_pcie_gen3 or"
            " pi_base_config_txt ask for: only a Raspberry Pi has one"
        )
    return problems


def is_pi5(board: dict[str, Any]) -> bool:
    """Whether this is a board with the Pi 5's chip (Pi 5, Compute Module 5, Pi 500), and not a container on one."""
    return board["virtualization"] == "" and bool(
        re.match(r"Raspberry Pi (5|500|Compute Module 5)\b", str(board["model"]))
    )


def board_warnings(board: dict[str, Any]) -> list[str]:
    """Sentences about what is wrong with a board that can serve all the same, each with what to do; empty if nothing.

    Args:
        board: what module `board_facts` returned. Of what it does not know nothing is said.
    """
    return [sentence for _, sentence in board_faults(board)]


def board_faults(board: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the same, each sentence with one word for what is wrong."""
    said = []
    told = board["throttled"]
    if "under-voltage" in told["now"] + told["since_boot"]:
        when = "now" if "under-voltage" in told["now"] else "since its start"
        fault = "voltage-now" if when == "now" else "voltage-since-boot"
        said.append((fault, f"under-voltage {when}: use a power supply of 5 V and 5 A, and a short cable"))
    for words, when in ((told["now"], "now"), (told["since_boot"], "since its start")):
        slow = [word for word in words if word != "under-voltage" and (when == "now" or word not in told["now"])]
        if slow:
            text = (
                f"{', '.join(slow)} {when}: it computes slower than it could; give it an active cooler and air"
                " (and the power supply above)"
            )
            said.append(("slow-now" if when == "now" else "slow-since-boot", text))
    if board["temperature_c"] is not None and board["temperature_c"] >= HOT and board["virtualization"] == "":
        text = f"its chip has {board['temperature_c']:.0f} C, and slows down from {HOT} on: see to its cooling"
        said.append(("hot", text))
    if board["cooling"]["fan"] is False:
        text = (
            "its firmware found no fan: under this load a Pi 5 needs an active cooler (one that is there and was not"
            " found wants pi_base_config_txt: [dtparam=cooling_fan=on]; a passive one cannot be seen)"
        )
        said.append(("no-fan", text))
    if board["time_synchronised"] is False:
        text = (
            "its clock is not synchronised, and a wrong one makes TLS and apt fail:"
            " timedatectl set-ntp true, and let it reach a time server"
        )
        said.append(("clock", text))
    controllers = board["cgroup_controllers"]
    if controllers and "memory" not in controllers and board["virtualization"] != "container":
        text = (
            "its kernel does not account for memory (cgroup_disable=memory), so that the server's limit has no effect:"
            " add cgroup_enable=memory to the line in /boot/firmware/cmdline.txt, and restart"
        )
        said.append(("cgroup-memory", text))
    said += _storage_faults(board["storage"], board["swap_files"])
    if is_pi5(board):
        said += _pi5_faults(board)
    if board["reboot_pending"]:
        text = (
            f"it must be restarted, for {', '.join(board['reboot_pending'])}: do it when it suits, or set"
            " pi_base_allow_reboot"
        )
        said.append(("reboot", text))
    return said


def _storage_faults(storage: dict[str, Any], swap_files: list[str]) -> list[tuple[str, str]]:
    said = []
    if storage["kind"] == "sd" and storage["slow"]:
        text = (
            f"its SD card {storage['name']} is slow ({storage['speed'] or 'no speed class'}): a model of 12 GB takes"
            " minutes to load; take a card of class A2, or NVMe"
        )
        said.append(("slow-sd", text))
    elif storage["slow"]:
        said.append(("slow-usb", f"its storage {storage['name']} is slow ({storage['speed']}): a blue port is USB 3"))
    if storage["kind"] == "sd" and swap_files:
        text = (
            f"it swaps to its SD card ({', '.join(swap_files)}), which is slow and wears out: pi_base_swap: zram or off"
        )
        said.append(("sd-swap", text))
    return said


def _pi5_faults(board: dict[str, Any]) -> list[tuple[str, str]]:
    said = []
    if board["page_size"] == 4096:
        text = (
            "its kernel has pages of 4 KiB; the Pi 5's own kernel (kernel_2712.img, the default of Raspberry Pi OS) has"
            " 16 KiB, which need fewer look-ups: remove kernel=... from config.txt if nothing needs it"
        )
        said.append(("page-size", text))
    date, banks = board["eeprom_date"], board["sdram"]["banklow"]
    if date and date < SDRAM_TUNED:
        text = (
            f"its EEPROM is of {date}: those from {SDRAM_TUNED} on use the memory better, which generation is bound by;"
            " sudo rpi-eeprom-update -a, and restart"
        )
        said.append(("eeprom", text))
    elif date and banks in (None, "0", "1") and board["numa_nodes"] == 1:
        text = (
            "its EEPROM spreads the memory's banks for a kernel with NUMA emulation, and this kernel has none: programs"
            " were reported to get half of the memory's speed so; use the kernel of Raspberry Pi OS, or set"
            " SDRAM_BANKLOW=3 (sudo rpi-eeprom-config --edit)"
        )
        said.append(("sdram-banks", text))
    return said
