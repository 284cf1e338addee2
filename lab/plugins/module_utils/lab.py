"""What the lab needs on a machine, and what is there: package sources, containers, the plan.

Formats: sources.list(5) for one-line and deb822 sources, JSON of `podman ps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id

#: Debian's names of what uname calls the machine.
DEBIAN_ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
#: Package that runs programs of another architecture.
USER_EMULATOR = "qemu-user-static"


class Source(NamedTuple):
    """A package source: one address, one suite."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str


def _one_line(text: str) -> list[Source]:
    """Return the entries of a sources.list: `deb [options] uri suite component...`."""
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
    """Return the entries of a .sources file: stanzas of fields; a continuation line begins with a space."""
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
    """Return all enabled binary package sources in these files ({path: text}); the suffix decides on the format."""
    found = []
    for path in sorted(files):
        found += _deb822(files[path]) if path.endswith(".sources") else _one_line(files[path])
    return found


def debian_sources(files: dict[str, str], codename: str, suite: str) -> list[str]:
    """Return one-line sources of Debian's `suite`, at the addresses where this host gets its release `codename`.

    Sources signed by another key are left out: other vendors use the names of Debian's releases too.
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
    """Return the one-line source of `codename`'s backports at this host's mirror, empty if none is known."""
    for line in debian_sources(files, codename, codename):
        words = line.split()
        if words[-2] == codename:
            return " ".join([*words[:-2], f"{codename}-backports", "main"])
    return ""


def has_backports(files: dict[str, str], codename: str) -> bool:
    """Return whether a source of this host has the backports already."""
    return any(source.suite == f"{codename}-backports" for source in parse_sources(files))


def board_containers(podman_ps: list[dict[str, Any]], alive: Callable[[int], bool]) -> dict[str, dict[str, Any]]:
    """Return {container name: {running, id, instance}} from `podman ps --all --format json`.

    A container whose process was lost without podman's knowledge (a machine restored from a snapshot, for example)
    still counts as running there and can be neither stopped nor started. It gets an empty ID, so that it is replaced.

    Args:
        alive: whether there is a process with this number.
    """
    found = {}
    for container in podman_ps:
        labels = container.get("Labels") or {}
        lost = container.get("State") in ("running", "stopping") and not alive(int(container.get("Pid") or 0))
        found[container["Names"][0]] = {
            "running": container.get("State") == "running" and not lost,
            "id": "" if lost else labels.get("ik-llama-pi.id", ""),
            "instance": labels.get("ik-llama-pi.instance", ""),
        }
    return found


def _major(version: str) -> int:
    """Return the first number of a Debian version without its epoch: 10 for `1:10.0.2+ds-2`; 0 for none."""
    head = version.rsplit(":", 1)[-1].split(".", 1)[0]
    return int(head) if head.isdigit() else 0


def qemu_to_update(wanted: Iterable[str], versions: dict[str, str], least: int = 10) -> list[str]:
    """Return the packages of QEMU to install or update: systemd 257 does not start services under QEMU 7.2.

    Args:
        wanted: names of packages. `qemu-user` does what `qemu-user-static` does.
        versions: {package: installed version}, installed ones only.
    """

    def newest(name: str) -> int:
        return max(_major(versions.get(alias, "")) for alias in (name, name.removesuffix("-static")))

    return [name for name in wanted if newest(name) < least]


def _image(
    machine: dict[str, Any], wanted: dict[str, Any], suite: str, architecture: str, emulated: bool
) -> dict[str, Any]:
    """Return one of the images of `lab_plan`."""
    sources = debian_sources(machine["apt_sources"], machine["codename"], suite)
    packages = sorted(wanted["packages"])
    rootfs_id = content_id({"format": 2, "suite": suite, "packages": packages, "architecture": architecture})
    image_id = content_id(
        {
            "rootfs": rootfs_id,
            "emulated": emulated,
            "sources": sources,
            "files": [machine["trees"], machine["apt_proxy"], machine["certificates"]],
            "more": wanted["image"],
        }
    )
    rootfs_image = f"localhost/ik-llama-pi/rootfs:{rootfs_id}"
    image = f"localhost/ik-llama-pi/board:{image_id}"
    return {
        "suite": suite,
        "sources": sources,
        "rootfs": f"{wanted['cache']}/rootfs/{rootfs_id}.tar",
        "rootfs_image": rootfs_image,
        "rootfs_missing": rootfs_image not in machine["images"],
        "image": image,
        "image_missing": image not in machine["images"],
    }


def lab_plan(machine: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what the lab needs on this machine, and what of it is missing.

    Args:
        machine: what module `lab_info` returned.
        wanted: `cache`, `instance`, `boards`, `machines` (boards that another role starts), `architecture` (`aarch64`,
            or `native` for this machine's), `suite` (of boards that name none), `packages` (in the root file system),
            `host_packages`, `qemu_packages` (of full systems), and `image` (what else an image is made from).

    Returns:
        inputs (`wanted`), machine, change (whether anything is to be made), directory (of this instance), architecture
        (Debian's name), emulated, packages and qemu (to install here), images (one for each suite that a board has:
        suite, sources, rootfs (path), rootfs_image and image (names), rootfs_missing and image_missing), boards (each
        with container, image, id, and state: `absent`, `outdated`, `stopped` or `running`), and ssh_boards (name,
        ssh_port and directory of each board and machine).
    """
    architecture = machine["architecture"] if wanted["architecture"] == "native" else wanted["architecture"]
    emulated = machine["architecture"] != architecture
    debian = DEBIAN_ARCHITECTURES.get(architecture, architecture)
    directory = f"{wanted['cache']}/lab/{wanted['instance']}"
    suites = dict.fromkeys(board.get("suite", wanted["suite"]) for board in wanted["boards"]) or [wanted["suite"]]
    images = {suite: _image(machine, wanted, suite, debian, emulated) for suite in suites}
    ssh_boards = [
        {"name": board["name"], "ssh_port": board["ssh_port"], "directory": f"{directory}/boards/{board['name']}"}
        for board in [*wanted["boards"], *wanted["machines"]]
    ]
    boards = []
    for board in wanted["boards"]:
        container = f"{wanted['instance']}-{board['name']}"
        image = images[board.get("suite", wanted["suite"])]["image"]
        board_id = content_id({"image": image, "board": board, "directory": directory})
        found = machine["containers"].get(container)
        if found is None:
            state = "absent"
        elif found["id"] != board_id:
            state = "outdated"
        else:
            state = "running" if found["running"] else "stopped"
        boards.append({**board, "container": container, "image": image, "id": board_id, "state": state})
    plan = {
        "inputs": wanted,
        "machine": machine,
        "directory": directory,
        "architecture": debian,
        "emulated": emulated,
        "qemu": qemu_to_update([USER_EMULATOR] * emulated + wanted["qemu_packages"], machine["versions"]),
        "packages": missing(wanted["host_packages"], machine["versions"]),
        "images": list(images.values()),
        "boards": boards,
        "ssh_boards": ssh_boards,
    }
    return {**plan, "change": bool(lab_steps(plan))}


def lab_problems(plan: dict[str, Any], space_gib: int) -> list[str]:
    """Return sentences, one for each reason why this machine cannot run the lab; empty if it can.

    Args:
        plan: what `lab_plan` returned.
        space_gib: least GiB free while the image has not been made.
    """
    machine = plan["machine"]
    problems = []
    if machine["architecture"] not in ("x86_64", "aarch64"):
        problems.append(f"its processor is {machine['architecture']}, and the lab supports x86_64 and aarch64")
    installs = machine["id"] == "debian" and machine["codename"] in ("bookworm", "trixie")
    if machine["programs_missing"] and not (installs and machine["root"]):
        why = "you are not root" if installs else f"it is {machine['id']} {machine['codename']}, not Debian 12 or 13"
        problems.append(
            f"{why}, so the lab installs nothing, and these programs are missing:"
            f" {', '.join(machine['programs_missing'])}. Install them, or use such a machine as root"
        )
    elif not machine["root"]:
        problems.append("containers with systemd, and the emulation, need root. Run the playbook as root")
    if any(image["image_missing"] for image in plan["images"]) and machine["free_mib"] < space_gib * 1024:
        problems.append(
            f"{machine['cache']} has {machine['free_mib'] / 1024:.1f} GiB free, and the lab needs {space_gib}"
            " (lab_host_space_gib). Free space, or set lab_host_cache to a folder on another disk"
        )
    for board in plan["boards"]:
        ours = machine["containers"].get(board["container"], {}).get("running")
        if int(board["ssh_port"]) in machine["ports_busy"] and not ours:
            problems.append(
                f"port {board['ssh_port']} on 127.0.0.1 is used by another program. Stop it,"
                f" or give {board['name']} another ssh_port in lab_host_boards"
            )
    return problems


def lab_steps(plan: dict[str, Any]) -> list[str]:
    """Return what a run will make, one sentence each with the time it takes; empty if nothing is missing."""
    packages = plan["packages"] + plan["qemu"]
    boards = [board["name"] for board in plan["boards"] if board["state"] != "running"]
    steps = []
    if packages:
        steps.append(f"Debian packages to install on this machine: {', '.join(packages)} (less than a minute)")
    for image in plan["images"]:
        if image["rootfs_missing"]:
            time = "emulated, about five minutes" if plan["emulated"] else "about a minute"
            steps.append(f"root file system of Debian {image['suite']}, unless {image['rootfs']} exists ({time})")
        if image["image_missing"]:
            steps.append(f"image {image['image']} (a quarter of a minute)")
    if boards:
        steps.append(f"boards to start: {', '.join(boards)} (ten seconds)")
    return steps


def missing(wanted: Iterable[str], there: Iterable[str]) -> list[str]:
    """Return those of `wanted` that are not `there`, in order."""
    known = set(there)
    return [name for name in wanted if name not in known]


def board_table(boards: Iterable[Mapping[str, Any]], cache: str) -> list[str]:
    """Return lines that say how to reach the boards: a table, and the commands for the first of them.

    Args:
        boards: variables of each board. Where they have none, port 8080 of the role llama_server holds.
        cache: the lab's folder.
    """
    boards = list(boards)
    if not boards:
        return ["This lab has no boards."]
    rows = [("board", "SSH on 127.0.0.1", "model", "API on the board")]
    for board in boards:
        api = f"http://127.0.0.1:{board.get('llama_server_port', 8080)}/v1"
        rows.append((board["inventory_hostname"], str(board["ansible_port"]), str(board["llama_server_model"]), api))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    first, port = boards[0], boards[0].get("llama_server_port", 8080)
    # The role lab_host puts it next to the folder of the key.
    settings = Path(str(first["ansible_ssh_private_key_file"])).parents[1] / "ssh_config"
    login = f"ssh -F {settings} {first['inventory_hostname']}"
    return [
        *("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows),
        f"log in: {login}",
        f"ask from here: {login} -L 8080:127.0.0.1:{port}, then curl http://127.0.0.1:8080/v1/models",
        f"engine, model and images: {cache}",
        "remove the boards: make lab-down",
    ]
