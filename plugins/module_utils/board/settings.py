"""What the role pi_base configures on a board, as files, and which of its steps are needed. All functions are pure.

Every setting is a file of the role, so that undoing it means removing that file. What a setting replaced (the
governor, the swappiness) is noted in the file itself. What the role writes into the firmware's config.txt is between
two marks.

Sources: systemd.unit(5) (drop-ins for all units of a type), sysctl.d(5), journald.conf(5), swap.conf(5) of Raspberry Pi
OS' package rpi-swap, zram-generator.conf(5), dphys-swapfile(8), and the Raspberry Pi documentation (config.txt).
"""

from __future__ import annotations

import re
from typing import Any

GOVERNOR = "/etc/systemd/system/ik-llama-pi-governor.service"
SYSCTL = "/etc/sysctl.d/99-ik-llama-pi.conf"
JOURNAL = "/etc/systemd/journald.conf.d/90-ik-llama-pi.conf"
RPI_SWAP = "/etc/rpi/swap.conf.d/90-ik-llama-pi.conf"
ZRAM = "/etc/systemd/zram-generator.conf.d/90-ik-llama-pi.conf"
NO_SWAP_UNIT, NO_DPHYS, NO_ZRAMSWAP = (
    f"/etc/systemd/system/{unit}.d/90-ik-llama-pi.conf"
    for unit in ("swap", "dphys-swapfile.service", "zramswap.service")
)

#: Files of each step, by its name, which is that of its task file too.
FILES: dict[str, list[str]] = {
    "governor": [GOVERNOR],
    "sysctl": [SYSCTL],
    "journald": [JOURNAL],
    "swap": [RPI_SWAP, ZRAM, NO_SWAP_UNIT, NO_DPHYS, NO_ZRAMSWAP],
}

#: What may manage swap on a board, and the files of which one shows that it is installed.
SWAP_SYSTEMS = {
    "rpi-swap": [
        "/usr/lib/systemd/system-generators/rpi-swap-generator",
        "/lib/systemd/system-generators/rpi-swap-generator",
    ],
    "dphys-swapfile": ["/sbin/dphys-swapfile", "/usr/sbin/dphys-swapfile"],
    "zram-tools": ["/usr/sbin/zramswap"],
}

#: The marks around the role's lines in config.txt.
BEGIN, END = "# Written by Ansible: begin", "# Written by Ansible: end"

HEAD = "# Written by Ansible (role pi_base); a change here is lost.\n"
NEVER = (
    f"{HEAD}# No swap is wanted here (pi_base_swap): this condition is never true.\n[Unit]\nConditionPathExists=!/\n"
)

SWAP_SUMMARY = {
    "off": "swap: off",
    "zram": "swap: compressed memory",
    "keep": "swap: restored",
}

Step = dict[str, Any]


def config_lines(pcie_gen3: bool, lines: list[str]) -> list[str]:
    """Return the role's lines for config.txt. The file may end in a section for other boards; `[all]` ends that."""
    wanted = (["dtparam=pciex1_gen=3"] if pcie_gen3 else []) + lines
    return ["[all]", *wanted] if wanted else []


def governor_unit(governor: str, before: str, cpufreq: str) -> str:
    """Return the unit that sets the governor at each boot, and restores the previous one when it is stopped.

    Raspberry Pi OS sets a governor late at boot (raspi-config.service), which is why this unit is ordered after it, and
    why an entry in tmpfiles.d would not do.
    """
    files = f"{cpufreq}/policy*/scaling_governor"
    return (
        f"{HEAD}[Unit]\nDescription=CPU frequency governor {governor}\n"
        "After=raspi-config.service cpufrequtils.service\n"
        f"ConditionPathExistsGlob={files}\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/bin/sh -c 'echo {governor} | tee {files}'\n"
        f"ExecStop=/bin/sh -c 'echo {before} | tee {files}'\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def swap_files(policy: str, systems: list[str], zram_mib: int) -> dict[str, str]:
    """Return the files that a policy (keep, off, zram) consists of, path to text.

    Args:
        systems: what manages swap on this board, of `SWAP_SYSTEMS`.
        zram_mib: size of the compressed swap where the role makes it.
    """
    if policy == "off":
        rpi = {RPI_SWAP: f"{HEAD}[Main]\nMechanism=none\n"} if "rpi-swap" in systems else {}
        return {**rpi, NO_SWAP_UNIT: NEVER, NO_DPHYS: NEVER, NO_ZRAMSWAP: NEVER}
    if policy == "zram":
        if "rpi-swap" in systems:
            return {RPI_SWAP: f"{HEAD}[Main]\nMechanism=zram\n"}
        own = {} if "zram-tools" in systems else {ZRAM: f"{HEAD}[zram0]\nzram-size = {zram_mib}\n"}
        return {**own, NO_DPHYS: NEVER}
    return {}


def board_plan(board: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """Return what the role pi_base would do on a board.

    Args:
        board: what module `board_facts` returned.
        inputs: what else the plan is made from: `wanted`, as for `board_steps`.

    Returns:
        inputs, packages (Debian packages to install), steps (from `board_steps`), reboot (whether the board is
        restarted), change (whether there is anything to do).
    """
    wanted = inputs["wanted"]
    steps = board_steps(board, wanted)
    due = board["reboot_pending"] or "firmware" in steps or steps.get("swap", {}).get("late")
    plan = {
        "inputs": inputs,
        "packages": board["packages_missing"] if "packages" in inputs else [],
        "steps": steps,
        "reboot": bool(wanted["allow_reboot"] and wanted["own_kernel"] and due),
    }
    return {**plan, "change": bool(plan["packages"] or steps or plan["reboot"])}


def board_steps(board: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Step]:
    """Return the steps that turn a board into what is wanted, in order, by the names of their task files.

    Args:
        board: what module `board_facts` returned.
        wanted: `governor` and `swappiness` (empty, -1: as they are without the role), `journal_mib` (0: the same),
            `swap` (keep, off, zram), `zram_mib`, `config_txt` (lines, from `config_lines`), `cpufreq` (folder of the
            kernel's policies), `own_kernel` (false in a container, which shares that of its host).

    Returns:
        name to `files` (path and text; an empty text: the file is removed), `summary` (what it changes, one clause),
        and what its task file needs in addition.
    """
    steps: dict[str, Step] = {}
    settings = board["settings"]
    own = wanted["own_kernel"]

    def step(name: str, files: dict[str, str], differs: bool, summary: str, **more: Any) -> None:
        all_files = {path: files.get(path, "") for path in FILES.get(name, [])}
        changed = [
            {"path": path, "text": text} for path, text in all_files.items() if text.strip() != settings.get(path, "")
        ]
        if changed or differs:
            steps[name] = {"files": changed, "summary": summary, **more}

    governor, now = wanted["governor"], board["governor"]
    if governor and own and now:
        before = _found(r"^ExecStop=.*'echo (\S+) ", settings.get(GOVERNOR, "")) or now.split(",")[0]
        unit = governor_unit(governor, before, wanted["cpufreq"])
        step("governor", {GOVERNOR: unit}, now != governor, f"governor: {now} -> {governor}", state="restarted")
    elif not governor:
        step("governor", {}, False, "governor: restored", state="stopped")

    swappiness, now = wanted["swappiness"], board["swappiness"]
    before = _found(r"^# before: (\d+)$", settings.get(SYSCTL, "")) or str(now)
    if swappiness >= 0 and own and now is not None:
        text = f"{HEAD}# before: {before}\nvm.swappiness = {swappiness}\n"
        summary = f"swappiness: {now} -> {swappiness}"
        step("sysctl", {SYSCTL: text}, now != swappiness, summary, path=SYSCTL, value=swappiness)
    elif swappiness < 0:
        value = int(before) if before.isdigit() else 60
        step("sysctl", {}, False, f"swappiness: restored to {value}", path=SYSCTL, value=value)

    mib = wanted["journal_mib"]
    text = f"{HEAD}[Journal]\nSystemMaxUse={mib}M\n" if mib else ""
    step("journald", {JOURNAL: text}, False, f"journal: at most {mib} MiB" if mib else "journal: default limit")

    policy, systems = wanted["swap"], board["systems"]
    if own or policy == "keep":
        files = swap_files(policy, systems, wanted["zram_mib"])
        # Raspberry Pi OS' own swap changes at the next boot.
        late = "rpi-swap" in systems
        differs = (policy == "off" and board["swap_mib"] > 0) or (policy == "zram" and not board["zram"] and not late)
        step("swap", files, differs, SWAP_SUMMARY[policy], late=late, **_swap_units(files, settings, systems))

    lines, there = wanted["config_txt"], board["config_txt"]
    if there is not None and lines != there:
        summary = f"config.txt: {', '.join(lines[1:])}" if lines else "config.txt: without the lines of the role"
        steps["firmware"] = {"files": [], "summary": summary, "lines": lines}
    return steps


def _swap_units(files: dict[str, str], settings: dict[str, str], systems: list[str]) -> dict[str, Any]:
    """Return what swap needs besides its files: units to `stop` and `start`, `packages`, `swapoff` (disable all)."""
    services = {NO_DPHYS: ("dphys-swapfile", "dphys-swapfile.service"), NO_ZRAMSWAP: ("zram-tools", "zramswap.service")}
    own = ["dev-zram0.swap", "systemd-zram-setup@zram0.service"]
    there = [(path, unit) for path, (name, unit) in services.items() if name in systems]
    off = NO_SWAP_UNIT in files
    stop = [unit for path, unit in there if path in files] + own * (ZRAM in settings and ZRAM not in files)
    start = [unit for path, unit in there if path in settings and path not in files] + own[:1] * (ZRAM in files)
    start += ["swap.target"] * (NO_SWAP_UNIT in settings and not off)
    return {"stop": stop, "start": start, "packages": ["systemd-zram-generator"] * (ZRAM in files), "swapoff": off}


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""
