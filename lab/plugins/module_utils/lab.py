"""The lab's own computations: apt sources, state of containers, what is missing.

Formats: sources.list(5) for one-line and deb822 sources, JSON of `podman ps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_key

#: Debian's names of what uname calls the machine.
DEBIAN_ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
#: Package that runs the programs of another architecture.
USER_EMULATOR = "qemu-user-static"


class Source(NamedTuple):
    """One address of packages with one suite."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str


def _one_line(text: str) -> list[Source]:
    """Entries of a sources.list: `deb [options] uri suite component...`."""
    found = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words or words[0] != "deb":
            continue
        options: dict[str, str] = {}
        rest = words[1:]
        if rest and rest[0].startswith("["):
            end = next((i for i, word in enumerate(rest) if word.endswith("]")), len(rest) - 1)
            inside = " ".join(rest[: end + 1]).strip("[]")
            options = dict(word.split("=", 1) for word in inside.split() if "=" in word)
            rest = rest[end + 1 :]
        if len(rest) >= 3:
            found.append(Source(rest[0], rest[1], tuple(rest[2:]), options.get("signed-by", "")))
    return found


def _deb822(text: str) -> list[Source]:
    """Entries of a .sources file: stanzas of fields, a continuation line begins with a blank."""
    found = []
    for stanza in text.replace("\r", "").split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t"):
                fields[name] = fields.get(name, "") + "\n" + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                found.append(Source(uri, suite, components, fields.get("signed-by", "")))
    return found


def parse_sources(files: dict[str, str]) -> list[Source]:
    """All enabled binary package sources in these files ({path: text}); the name's end tells the format."""
    found = []
    for path in sorted(files):
        found += _deb822(files[path]) if path.endswith(".sources") else _one_line(files[path])
    return found


def debian_sources(files: dict[str, str], codename: str, suite: str) -> list[str]:
    """One-line sources of Debian's `suite`, at the addresses this host uses for its own `codename`.

    Other vendors name their suites after Debian's too; theirs are signed by another key.
    """
    lines = []
    for source in parse_sources(files):
        suffix = source.suite[len(codename) :] if source.suite.startswith(codename) else None
        if suffix not in ("", "-updates", "-security") or "main" not in source.components:
            continue
        key = source.signed_by
        if key and not ("debian-archive" in key and key.startswith("/")):
            continue
        option = f"[signed-by={key}] " if key else ""
        line = f"deb {option}{source.uri} {suite}{suffix} main"
        if line not in lines:
            lines.append(line)
    return lines


def backports_source(files: dict[str, str], codename: str) -> str:
    """The one-line source of `codename`'s backports at this host's own address; empty if none is known."""
    for line in debian_sources(files, codename, codename):
        words = line.split()
        if words[-2] == codename:
            return " ".join([*words[:-2], f"{codename}-backports", "main"])
    return ""


def has_backports(files: dict[str, str], codename: str) -> bool:
    """Whether some source of this host gives the backports already."""
    return any(source.suite == f"{codename}-backports" for source in parse_sources(files))


def board_containers(podman_ps: list[dict[str, Any]], alive: Callable[[int], bool]) -> dict[str, dict[str, Any]]:
    """{container name: {running, key, instance}} from `podman ps --all --format json`.

    A container whose process was lost behind podman's back (a machine restored from a snapshot, say)
    still counts as running there and can be neither stopped nor started: it gets an empty key, so
    that a new one takes its place.

    Args:
        alive: whether a process of this number is there.
    """
    found = {}
    for container in podman_ps:
        labels = container.get("Labels") or {}
        lost = container.get("State") in ("running", "stopping") and not alive(int(container.get("Pid") or 0))
        found[container["Names"][0]] = {
            "running": container.get("State") == "running" and not lost,
            "key": "" if lost else labels.get("ik-llama-pi.key", ""),
            "instance": labels.get("ik-llama-pi.instance", ""),
        }
    return found


def _major(version: str) -> int:
    """The first number in a Debian version (its epoch left off): 10 for `1:10.0.2+ds-2`; 0 for none."""
    head = version.rsplit(":", 1)[-1].split(".", 1)[0]
    return int(head) if head.isdigit() else 0


def qemu_to_renew(wanted: Iterable[str], versions: dict[str, str], least: int = 10) -> list[str]:
    """Packages of QEMU to install or renew: systemd 257 does not start services under QEMU 7.2.

    Args:
        wanted: names of packages. `qemu-user` does what `qemu-user-static` does.
        versions: {package: installed version}, of those that are.
    """

    def newest(name: str) -> int:
        return max(_major(versions.get(alias, "")) for alias in (name, name.removesuffix("-static")))

    return [name for name in wanted if newest(name) < least]


def lab_plan(state: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What the lab is to be on this machine, with keys for all that is made.

    Args:
        state: what module `lab_state` returned.
        wanted: `cache`, `instance`, `boards`, `architecture` (`aarch64`, or `native` for this machine's own), `suite`,
            `packages` (in the root file system), `host_packages`, `machine_packages` (those of QEMU's full systems),
            and `image` (whatever else goes into the image).

    Returns:
        architecture (Debian's name), emulated, packages and qemu (to install here), sources (of the boards),
        rootfs (path), rootfs_image and image (names), rootfs_missing and image_missing, boards (each with container,
        directory, key, and state: `absent`, `outdated`, `stopped` or `running`).
    """
    architecture = state["architecture"] if wanted["architecture"] == "native" else wanted["architecture"]
    emulated = state["architecture"] != architecture
    sources = debian_sources(state["apt_sources"], state["codename"], wanted["suite"])
    packages = sorted(wanted["packages"])
    debian = DEBIAN_ARCHITECTURES.get(architecture, architecture)
    rootfs_key = content_key({"format": 2, "suite": wanted["suite"], "packages": packages, "architecture": debian})
    image_key = content_key(
        {
            "rootfs": rootfs_key,
            "emulated": emulated,
            "sources": sources,
            "files": [state["trees"], state["apt_proxy"], state["certificates"]],
            "more": wanted["image"],
        }
    )
    rootfs_image = f"localhost/ik-llama-pi/rootfs:{rootfs_key}"
    image = f"localhost/ik-llama-pi/board:{image_key}"
    boards = []
    for board in wanted["boards"]:
        container = f"{wanted['instance']}-{board['name']}"
        directory = f"{wanted['cache']}/lab/{wanted['instance']}/boards/{board['name']}"
        key = content_key({"image": image_key, "board": board, "directory": directory})
        there = state["containers"].get(container)
        if there is None:
            standing = "absent"
        elif there["key"] != key:
            standing = "outdated"
        else:
            standing = "running" if there["running"] else "stopped"
        boards.append({**board, "container": container, "directory": directory, "key": key, "state": standing})
    return {
        "architecture": debian,
        "emulated": emulated,
        "qemu": qemu_to_renew([USER_EMULATOR] * emulated + wanted["machine_packages"], state["versions"]),
        "packages": missing(wanted["host_packages"], state["versions"]),
        "sources": sources,
        "rootfs": f"{wanted['cache']}/rootfs/{rootfs_key}.tar",
        "rootfs_image": rootfs_image,
        "rootfs_missing": rootfs_image not in state["images"],
        "image": image,
        "image_missing": image not in state["images"],
        "boards": boards,
    }


def lab_problems(plan: dict[str, Any], state: dict[str, Any], space_gib: int) -> list[str]:
    """Sentences, one for each reason why this machine cannot carry the lab; empty if it can.

    Args:
        plan: what `lab_plan` returned.
        state: what module `lab_state` returned.
        space_gib: least GiB free while no image stands yet.
    """
    problems = []
    if state["architecture"] not in ("x86_64", "aarch64"):
        problems.append(f"its processor is {state['architecture']}: the lab knows x86_64 and aarch64")
    installs = state["id"] == "debian" and state["codename"] in ("bookworm", "trixie")
    if state["programs_missing"] and not (installs and state["root"]):
        why = "you are not root" if installs else f"it is {state['id']} {state['codename']}, not Debian 12 or 13"
        problems.append(
            f"{why}, so the lab installs nothing, and these programs are missing:"
            f" {', '.join(state['programs_missing'])}. Install them, or use such a machine as root"
        )
    elif not state["root"]:
        problems.append("containers with systemd, and the emulation, need root: run the playbook as root")
    if plan["image_missing"] and state["free_mib"] < space_gib * 1024:
        problems.append(
            f"{state['cache']} has {state['free_mib'] / 1024:.1f} GiB free, the lab needs {space_gib}"
            " (lab_host_space_gib): make room, or set lab_host_cache to another disk"
        )
    for board in plan["boards"]:
        ours = state["containers"].get(board["container"], {}).get("running")
        if int(board["ssh_port"]) in state["ports_busy"] and not ours:
            problems.append(
                f"port {board['ssh_port']} on 127.0.0.1 is taken by something else: stop it,"
                f" or give {board['name']} another ssh_port in lab_host_boards"
            )
    return problems


def lab_steps(plan: dict[str, Any]) -> list[str]:
    """What a run will make, one sentence each with the time it takes; empty if all stands."""
    packages = plan["packages"] + plan["qemu"]
    boards = [board["name"] for board in plan["boards"] if board["state"] != "running"]
    steps = []
    if packages:
        steps.append(f"Debian packages to install on this machine: {', '.join(packages)} (less than a minute)")
    if plan["rootfs_missing"]:
        time = "emulated, about five minutes" if plan["emulated"] else "about a minute"
        steps.append(f"root file system of the boards, if {plan['rootfs']} is not there yet ({time})")
    if plan["image_missing"]:
        steps.append(f"image {plan['image']} (a quarter of a minute)")
    if boards:
        steps.append(f"boards to start: {', '.join(boards)} (ten seconds)")
    return steps


def missing(wanted: Iterable[str], there: Iterable[str]) -> list[str]:
    """Those of `wanted` that are not `there`, in order."""
    known = set(there)
    return [name for name in wanted if name not in known]
