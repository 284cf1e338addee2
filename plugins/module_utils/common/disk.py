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


def free_bytes(path: str | Path) -> int:
    """Return the bytes that an ordinary user may still write where `path` is, or will be."""
    status = os.statvfs(existing_parent(path))
    return status.f_bavail * status.f_frsize
