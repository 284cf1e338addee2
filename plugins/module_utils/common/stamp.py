"""The sha256 of large files, computed once.

A stamp is a small JSON file for a large one: `size` (bytes), `mtime_ns` and `sha256`. As long as size and
modification time agree, the file is not read again.
"""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_file

#: Its name until now; goes when nobody uses it any more.
sha256_of = sha256_file


class ChangingError(OSError):
    """A file changes while it is read."""


def read_stamp(path: Path, stamp: Path) -> str | None:
    """Return the sha256 that the stamp has for exactly this state of the file, None if it has none."""
    try:
        noted = json.loads(stamp.read_text(encoding="utf-8"))
        status = path.stat()
        if (noted["size"], noted["mtime_ns"]) == (status.st_size, status.st_mtime_ns):
            return str(noted["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return None


def write_stamp(path: Path, stamp: Path, sha256: str) -> None:
    """Write the stamp of the file as it is now, in one step."""
    status = path.stat()
    noted = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    write_file(stamp, json.dumps(noted) + "\n")


def stamped_sha256(path: Path, stamp: Path, keep: bool) -> tuple[str, bool]:
    """Return the file's sha256, and whether the file had to be read for it; with `keep` the stamp is written then.

    Raises OSError: ChangingError where the file changes while it is read.
    """
    known = read_stamp(path, stamp)
    if known:
        return known, False
    before = path.stat()
    sha256 = sha256_file(path)
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ChangingError(f"{path} changes while it is read; wait until it is complete, and run again")
    if keep:
        write_stamp(path, stamp, sha256)
    return sha256, True
