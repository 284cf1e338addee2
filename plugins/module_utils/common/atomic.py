"""Files and pointers that change in one step: the old one is there or the new one, never half of it and never none."""

from __future__ import annotations

import os
from pathlib import Path


def settle(folder: Path) -> None:
    """Have what was named in a folder on the disk: a rename alone may be lost with the power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file beside its place, flush it to disk, and rename it. OSError if that cannot be done."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    settle(path.parent)


def point(link: Path, target: str) -> None:
    """Make `link` a symlink to `target`, whatever it named before."""
    beside = link.with_name(f".{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)
    settle(link.parent)


def names(link: Path, target: str) -> bool:
    """Whether `link` is a symlink to `target`, letter by letter."""
    return link.is_symlink() and os.readlink(link) == target
