"""Free space of a file system."""

from __future__ import annotations

import os
from pathlib import Path


def free_bytes(path: str | Path) -> int:
    """Return the bytes that an ordinary user may still write where `path` is, or will be.

    A path that is not there yet will be on the file system of its nearest existing parent.
    """
    where = Path(path).absolute()
    while not where.exists() and where != where.parent:
        where = where.parent
    status = os.statvfs(where)
    return status.f_bavail * status.f_frsize
