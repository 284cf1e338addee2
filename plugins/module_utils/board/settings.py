"""What the role pi_base sets on a board, as files, and which of its steps are needed. All functions are pure.

Every setting is a file of the role's own, so that taking it back is removing that file. What a setting replaced (the
governor, the swappiness) stands in the file itself. What the role writes into the firmware's config.txt stands between
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

#: Files of each step, by its name; that of task files too.
FILES: dict[str, list[str]] = {
    "governor": [GOVERNOR],
    "sysctl": [SYSCTL],
    "journald": [JOURNAL],
    "swap": [RPI_SWAP, ZRAM, NO_SWAP_UNIT, NO_DPHYS, NO_ZRAMSWAP],
}

#: What may manage swap on a board, and by which file it is known to be there.
SWAP_SYSTEMS = {
    "rpi-swap": [
        "/usr/lib/systemd/system-generators/rpi-swap-generator",
        "/lib/systemd/system-generators/rpi-swap-generator",
    ],
    "dphys-swapfile": ["/sbin/dphys-swapfile", "/usr/sbin/dphys-swapfile"],
    "zram-tools": ["/usr/sbin/zramswap"],
}

#: What stands around the role's lines in config.txt.
BEGIN, END = "# Written by Ansible: begin", "# Written by Ansible: end"

HEAD = "# Written by Ansible (role pi_base); a change here is lost.\n"
NEVER = (
    f"{HEAD}# No swap is wanted here (pi_base_swap): this condition is never true.\n[Unit]\nConditionPathExists=!/\n"
)

SWAP_SAYS = {
    "off": "swap goes",
    "zram": "swap becomes compressed memory",
    "keep": "swap becomes what it was before",
}

Step = dict[str, Any]


def config_lines(pcie_gen3: bool, lines: list[str]) -> list[str]:
    """The role's lines for config.txt. The file may end in a section for other boards; `[all]` ends that."""
    wanted = (["dtparam=pciex1_gen=3"] if pcie_gen3 else []) + lines
    return ["[all]", *wanted] if wanted else []


def governor_unit(governor: str, before: str, cpufreq: str) -> str:
    """The unit that sets the governor at each start, and puts the one before it back when it is stopped.

    Raspberry Pi OS sets one of its own late at start (raspi-config.service), which is why this comes after it, and no
    entry in tmpfiles.d would do.
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
    """Path to text of the files that a policy (keep, off, zram) consists of.

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


def board_steps(board: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Step]:
    """The steps that are needed for a board to be as wanted, in order, by their names.

    Args:
        board: what module `board_facts` returned.
        wanted: `governor` and `swappiness` (empty, -1: as they are without the role), `journal_mib` (0: the same),
            `swap` (keep, off, zram), `zram_mib`, `config_txt` (lines, from `config_lines`), `allow_reboot`, `cpufreq`
            (folder of the kernel's policies), `own_kernel` (false in a container, which has its host's).

    Returns:
        name to `files` (path and text; empty text: the file goes), `say` (what it changes, one clause), and what its
        task file needs besides.
    """
    steps: dict[str, Step] = {}
    settings = board["settings"]
    own = wanted["own_kernel"]

    def step(name: str, files: dict[str, str], differs: bool, say: str, **more: Any) -> None:
        all_files = {path: files.get(path, "") for path in FILES.get(name, [])}
        changed = [
            {"path": path, "text": text} for path, text in all_files.items() if text.strip() != settings.get(path, "")
        ]
        if changed or differs:
            steps[name] = {"files": changed, "say": say, **more}

    governor, now = wanted["governor"], board["governor"]
    if governor and own and now:
        before = _found(r"^ExecStop=.*'echo (\S+) ", settings.get(GOVERNOR, "")) or now.split(",")[0]
        unit = governor_unit(governor, before, wanted["cpufreq"])
        step("governor", {GOVERNOR: unit}, now != governor, f"governor {now} becomes {governor}", state="restarted")
    elif not governor:
        step("governor", {}, False, "the governor becomes what it was before", state="stopped")

    swappiness, now = wanted["swappiness"], board["swappiness"]
    before = _found(r"^# before: (\d+)$", settings.get(SYSCTL, "")) or str(now)
    if swappiness >= 0 and own and now is not None:
        text = f"{HEAD}# before: {before}\nvm.swappiness = {swappiness}\n"
        step("sysctl", {SYSCTL: text}, now != swappiness, f"swappiness {now} becomes {swappiness}", value=swappiness)
    elif swappiness < 0:
        step("sysctl", {}, False, f"swappiness becomes {before} again", value=int(before) if before.isdigit() else 60)

    mib = wanted["journal_mib"]
    text = f"{HEAD}[Journal]\nSystemMaxUse={mib}M\n" if mib else ""
    step("journald", {JOURNAL: text}, False, f"the journal gets {mib} MiB" if mib else "the journal gets its own limit")

    policy, systems = wanted["swap"], board["systems"]
    if own or policy == "keep":
        files = swap_files(policy, systems, wanted["zram_mib"])
        # Raspberry Pi OS' own swap changes with the next start.
        late = "rpi-swap" in systems
        differs = (policy == "off" and board["swap_mib"] > 0) or (policy == "zram" and not board["zram"] and not late)
        step("swap", files, differs, SWAP_SAYS[policy], late=late, **_swap_units(files, settings, systems))

    lines, there = wanted["config_txt"], board["config_txt"]
    if there is not None and lines != there:
        say = f"config.txt gets {', '.join(lines[1:])}" if lines else "config.txt loses the role's lines"
        steps["firmware"] = {"files": [], "say": say, "lines": lines}
    if wanted["allow_reboot"] and own and (board["reboot_pending"] or "firmware" in steps or _late(steps)):
        steps["reboot"] = {"files": [], "say": "it restarts"}
    return steps


def _swap_units(files: dict[str, str], settings: dict[str, str], systems: list[str]) -> dict[str, Any]:
    """What swap needs besides its files: units to `stop` and to `start`, `packages`, and whether all is taken away."""
    services = {NO_DPHYS: ("dphys-swapfile", "dphys-swapfile.service"), NO_ZRAMSWAP: ("zram-tools", "zramswap.service")}
    own = ["dev-zram0.swap", "systemd-zram-setup@zram0.service"]
    there = [(path, unit) for path, (name, unit) in services.items() if name in systems]
    off = NO_SWAP_UNIT in files
    stop = [unit for path, unit in there if path in files] + own * (ZRAM in settings and ZRAM not in files)
    start = [unit for path, unit in there if path in settings and path not in files] + own[:1] * (ZRAM in files)
    start += ["swap.target"] * (NO_SWAP_UNIT in settings and not off)
    return {"stop": stop, "start": start, "packages": ["systemd-zram-generator"] * (ZRAM in files), "swapoff": off}


def _late(steps: dict[str, Step]) -> bool:
    return bool(steps.get("swap", {}).get("late"))


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""
