"""Engine releases on disk: ``<root>/releases/<key>/{bin/,release.json}``, ``<root>/current``.

A release is made in a folder beside and renamed when its manifest is in it, so that
nothing half made ever carries a key.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils import atomic

MANIFEST = "release.json"


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


def inspect(root: str, key: str) -> dict[str, Any]:
    """Return state (absent, damaged, finished), damage (why) and release (manifest).

    Sizes are compared, not digests: this runs on every play. The digests were compared
    when the release was put there.
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
        compare(os.path.join(where, "bin"), release["binaries"], digests=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {**found, "state": "damaged", "damage": f"{MANIFEST}: {error}"}
    except ReleaseError as error:
        return {**found, "state": "damaged", "damage": str(error)}
    return {**found, "state": "finished", "release": release}


def compare(bin_folder: str, binaries: dict[str, dict[str, Any]], *, digests: bool) -> None:
    """Compare programs with the manifest: size, and with digests also SHA-256.

    Raises ReleaseError for the first one that differs or is missing.
    """
    for name, expected in sorted(binaries.items()):
        path = os.path.join(bin_folder, name)
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise ReleaseError(f"{name} is missing ({error.strerror})") from error
        if size != expected["size"]:
            raise ReleaseError(f"{name} has {size} bytes instead of {expected['size']}")
        if digests and sha256(path) != expected["sha256"]:
            raise ReleaseError(f"{name} has another SHA-256 than {MANIFEST} says")


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
    with open(os.path.join(new, MANIFEST), "w", encoding="utf-8") as handle:
        json.dump(release, handle, indent=2, sort_keys=True)
        handle.write("\n")
    os.chmod(os.path.join(new, MANIFEST), 0o644)
    # The name must not reach the disk before the content does.
    os.sync()
    old = os.path.join(root, "releases", f".{key}.old")
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(where):
        os.rename(where, old)
    os.rename(new, where)
    shutil.rmtree(old, ignore_errors=True)


def point(root: str, key: str) -> None:
    """Let ``current`` name the release; at no moment is there no pointer."""
    atomic.point(Path(root, "current"), f"releases/{key}")
