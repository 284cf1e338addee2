"""Engine releases on disk: ``<root>/releases/<key>/{bin/,release.json}``, ``<root>/current``.

A release is made in a folder beside and renamed when its manifest is in it, so that
nothing half made ever carries a key.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common import atomic

MANIFEST = "release.json"
#: Size and modification time (ns) of each program when its digest was compared: as long as they are the same, the
#: program is not read again.
SEEN = "seen.json"
#: All that the role puts into its root.
CONTENTS = ("current", "previous", "releases", "build", "source.git", "ccache")


class ReleaseError(Exception):
    """A release is not what it should be; the text says what is wrong."""


def sha256(path: str) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def folder(root: str, key: str) -> str:
    """Return where the release is."""
    return os.path.join(root, "releases", key)


def staging(root: str, key: str) -> str:
    """Return where the release is made; on the same file system, hidden from a listing."""
    return os.path.join(root, "releases", f".{key}.new")


def current_key(root: str) -> str:
    """Return the key that the pointer names, empty where there is no pointer."""
    try:
        return os.path.basename(os.readlink(os.path.join(root, "current")))
    except OSError:
        return ""


def previous_key(root: str) -> str:
    """Return the key that was in use before the current one, empty where there is none."""
    try:
        return os.path.basename(os.readlink(os.path.join(root, "previous")))
    except OSError:
        return ""


def inspect(root: str, key: str) -> dict[str, Any]:
    """Return state (absent, damaged, finished), damage (why) and release (manifest).

    This runs on every play: a program that has the size and time of the day its digest was compared is not read.
    """
    where = folder(root, key)
    found: dict[str, Any] = {"state": "absent", "damage": "", "release": {}}
    if not os.path.isdir(where):
        return found
    try:
        with open(os.path.join(where, MANIFEST), encoding="utf-8") as handle:
            release = json.load(handle)
        if release["key"] != key:
            raise ReleaseError(f"{MANIFEST} is of release {release['key']}")
        compare(os.path.join(where, "bin"), release["binaries"], seen=read_seen(where))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {**found, "state": "damaged", "damage": f"{MANIFEST}: {error}"}
    except ReleaseError as error:
        return {**found, "state": "damaged", "damage": str(error)}
    return {**found, "state": "finished", "release": release}


def read_seen(where: str) -> dict[str, list[int]]:
    """Return {program: [size, time in ns]}, empty where it was not noted."""
    try:
        with open(os.path.join(where, SEEN), encoding="utf-8") as handle:
            return dict(json.load(handle))
    except (OSError, ValueError, TypeError):
        return {}


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
        if seen.get(name) != there and (found := sha256(path)) != expected["sha256"]:
            raise ReleaseError(f"{name}: checksum mismatch: expected {expected['sha256']} ({MANIFEST}), got {found}")


def describe(bin_folder: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of each program, as the manifest has them."""
    paths = {name: os.path.join(bin_folder, name) for name in names}
    return {name: {"size": os.stat(path).st_size, "sha256": sha256(path)} for name, path in sorted(paths.items())}


def finish(root: str, release: dict[str, Any]) -> None:
    """Write the manifest into the staging folder and give the folder its name.

    What stood there (damaged, or it would not be replaced) is moved aside first: a
    running program keeps its file.
    """
    key = release["key"]
    new, where = staging(root, key), folder(root, key)
    seen = {name: look(os.path.join(new, "bin", name)) for name in release["binaries"]}
    for file, value in ((MANIFEST, release), (SEEN, seen)):
        with open(os.path.join(new, file), "w", encoding="utf-8") as handle:
            json.dump(value, handle, indent=2, sort_keys=True)
            handle.write("\n")
        os.chmod(os.path.join(new, file), 0o644)
    # The name must not reach the disk before the content does.
    os.sync()
    old = os.path.join(root, "releases", f".{key}.old")
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(where):
        os.rename(where, old)
    os.rename(new, where)
    shutil.rmtree(old, ignore_errors=True)


def point(root: str, key: str) -> None:
    """Let ``current`` name the release, and ``previous`` the one before; at no moment is there no pointer."""
    before = current_key(root)
    if before and before != key:
        atomic.point(Path(root, "previous"), f"releases/{before}")
    atomic.point(Path(root, "current"), f"releases/{key}")


def users(root: str, patterns: list[str]) -> dict[str, list[str]]:
    """Return {key: links} of the releases that links outside (of deployments, say) point to.

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
    """Remove all but the newest ``keep`` releases; return the keys of those removed.

    What ``current`` or ``previous`` names, or a link of ``patterns``, stays whatever its age.
    """
    home = os.path.join(root, "releases")
    keys = [key for key in os.listdir(home) if not key.startswith(".")]
    keys.sort(key=lambda key: os.stat(os.path.join(home, key)).st_mtime_ns, reverse=True)
    needed = {current_key(root), previous_key(root), *users(root, patterns)}
    removed = [key for key in keys[max(keep, 1) :] if key not in needed]
    for key in removed:
        shutil.rmtree(os.path.join(home, key))
    return removed
