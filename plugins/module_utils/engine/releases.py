"""Engine releases on disk: ``<root>/releases/<ID>/{bin/,release.json}``, ``<root>/current``.

Other pointers name releases with programs that measure: ``<root>/bench`` speed (role llama_bench), ``<root>/evaluate``
what quantizing costs (role gguf_evaluate). Nothing that serves depends on them.

A release is staged in a hidden folder that is renamed when its manifest is in it, so that
nothing unfinished is ever found under an ID.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common import atomic
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json

MANIFEST = "release.json"
#: Size and modification time (ns) of each program when its digest was compared: as long as they are the same, the
#: program is not read again.
SEEN = "seen.json"
#: Pointers that a release can be installed for.
POINTERS = ("current", "bench", "evaluate")
#: All that the role puts into its root.
CONTENTS = (*POINTERS, "previous", "releases", "build", "source.git", "ccache")


class ReleaseError(Exception):
    """A release is not what it should be; the text says what is wrong."""


def folder(root: str, release: str) -> str:
    """Return where a release is, by its ID."""
    return os.path.join(root, "releases", release)


def staging(root: str, release: str) -> str:
    """Return where a release is made; on the same file system, hidden from a listing."""
    return os.path.join(root, "releases", f".{release}.new")


def pointed(root: str, pointer: str = "current") -> str:
    """Return the ID of the release that a pointer names, empty where there is no pointer."""
    try:
        return os.path.basename(os.readlink(os.path.join(root, pointer)))
    except OSError:
        return ""


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a release. OSError or ValueError if it cannot be read.

    Versions before 0.2 wrote the ID as `key`.
    """
    manifest = dict(json.loads(path.read_text(encoding="utf-8")))
    if "key" in manifest:
        manifest.setdefault("id", manifest.pop("key"))
    return manifest


def inspect(root: str, release: str) -> dict[str, Any]:
    """Return state (absent, damaged, finished), damage (why) and release (manifest).

    This runs on every play: a program that has the size and time of the day its digest was compared is not read.
    """
    where = folder(root, release)
    found: dict[str, Any] = {"state": "absent", "damage": "", "release": {}}
    if not os.path.isdir(where):
        return found
    try:
        manifest = read_manifest(Path(where, MANIFEST))
        if manifest["id"] != release:
            raise ReleaseError(f"{MANIFEST} is of release {manifest['id']}")
        compare(os.path.join(where, "bin"), manifest["binaries"], seen=read_json(Path(where, SEEN), {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {**found, "state": "damaged", "damage": f"{MANIFEST}: {error}"}
    except ReleaseError as error:
        return {**found, "state": "damaged", "damage": str(error)}
    return {**found, "state": "finished", "release": manifest}


def look(path: str) -> list[int]:
    """Return size and modification time (ns) of a file."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def compare(bin_folder: str, binaries: dict[str, dict[str, Any]], *, seen: dict[str, list[int]]) -> None:
    """Compare programs with the manifest: size, and SHA-256 of those that were not seen as they are.

    Raises ReleaseError for the first one that differs or is missing.
    """
    for name, expected in sorted(binaries.items()):
        path = os.path.join(bin_folder, name)
        try:
            there = look(path)
        except OSError as error:
            raise ReleaseError(f"{name} is missing ({error.strerror})") from error
        if there[0] != expected["size"]:
            raise ReleaseError(f"{name} has {there[0]} bytes instead of {expected['size']}")
        if seen.get(name) != there and (found := sha256_file(path)) != expected["sha256"]:
            raise ReleaseError(f"{name}: checksum mismatch: expected {expected['sha256']} ({MANIFEST}), got {found}")


def describe(bin_folder: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of each program, as the manifest has them."""
    paths = {name: os.path.join(bin_folder, name) for name in names}
    return {name: {"size": os.stat(path).st_size, "sha256": sha256_file(path)} for name, path in sorted(paths.items())}


def finish(root: str, manifest: dict[str, Any]) -> None:
    """Write the manifest into the staging folder and give the folder its name.

    What was there under this name (damaged, or it would not be replaced) is moved aside first: a
    running program keeps its file.
    """
    release = manifest["id"]
    new, where = staging(root, release), folder(root, release)
    seen = {name: look(os.path.join(new, "bin", name)) for name in manifest["binaries"]}
    for file, value in ((MANIFEST, manifest), (SEEN, seen)):
        with open(os.path.join(new, file), "w", encoding="utf-8") as handle:
            json.dump(value, handle, indent=2, sort_keys=True)
            handle.write("\n")
        os.chmod(os.path.join(new, file), 0o644)
    # The name must not reach the disk before the content does.
    os.sync()
    old = os.path.join(root, "releases", f".{release}.old")
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(where):
        os.rename(where, old)
    os.rename(new, where)
    shutil.rmtree(old, ignore_errors=True)


def point(root: str, release: str, pointer: str = "current") -> None:
    """Let a pointer name the release, and ``previous`` what ``current`` named; at no moment is there no pointer."""
    before = pointed(root)
    if pointer == "current" and before and before != release:
        atomic.point(Path(root, "previous"), f"releases/{before}")
    atomic.point(Path(root, pointer), f"releases/{release}")


def users(root: str, patterns: list[str]) -> dict[str, list[str]]:
    """Return {ID: links} of the releases that links outside (of deployments, say) point to.

    patterns are those of glob(7).
    """
    found: dict[str, list[str]] = {}
    home = os.path.realpath(os.path.join(root, "releases"))
    for link in sorted(link for pattern in patterns for link in glob.glob(pattern)):
        target = os.path.realpath(link)
        if os.path.dirname(target) == home:
            found.setdefault(os.path.basename(target), []).append(link)
    return found


def prune(root: str, keep: int, patterns: list[str]) -> list[str]:
    """Remove all but the newest ``keep`` releases; return the IDs of those removed.

    What a pointer of the root names, or a link of ``patterns``, stays whatever its age.
    """
    home = os.path.join(root, "releases")
    found = [name for name in os.listdir(home) if not name.startswith(".")]
    found.sort(key=lambda name: os.stat(os.path.join(home, name)).st_mtime_ns, reverse=True)
    needed = {*(pointed(root, pointer) for pointer in (*POINTERS, "previous")), *users(root, patterns)}
    removed = [name for name in found[max(keep, 1) :] if name not in needed]
    for name in removed:
        shutil.rmtree(os.path.join(home, name))
    return removed
