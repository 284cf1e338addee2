"""Files and pointers that change in one step: the old one is there or the new one, never half of it and never none."""

from __future__ import annotations

import os
from pathlib import Path


def settle(folder: Path) -> None:
    """Flush a folder to disk: without that a power cut may undo a rename in it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file under another name, flush it to disk, and rename it. OSError if that cannot be done."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    settle(path.parent)


def point(link: Path, target: str) -> None:
    """Make `link` a symlink to `target`, whatever it named before."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
    settle(link.parent)


def names(link: Path, target: str) -> bool:
    """Return whether `link` is a symlink to exactly `target`."""
    return link.is_symlink() and os.readlink(link) == target
