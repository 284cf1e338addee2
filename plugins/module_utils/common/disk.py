"""Free space of a file system."""

from __future__ import annotations

import os
from pathlib import Path


def existing_parent(path: str | Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    where = Path(path).absolute()
    while not where.exists() and where != where.parent:
        where = where.parent
    return where


#: Fewer new files than this are no room, whatever the bytes.
FILES = 200


def files_used_up(status: os.statvfs_result) -> bool:
    """Return whether a file system has room for bytes, and not for files (`df -i`). Some count no files at all."""
    return status.f_files > 0 and status.f_favail < FILES


def free_bytes(path: str | Path) -> int:
    """Return the bytes that an ordinary user may still write where `path` is, or will be.

    0 where hardly another file can be created: whoever asks wants to create some.
    """
    status = os.statvfs(existing_parent(path))
    return 0 if files_used_up(status) else status.f_bavail * status.f_frsize
