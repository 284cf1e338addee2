"""Read files that may be missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def read_text(path: str | Path, default: str = "") -> str:
    """Return the text of a file, `default` if it cannot be read. Bytes that are not UTF-8 are replaced."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return default


def read_json(path: str | Path, default: T) -> T:
    """Return the content of a JSON file, `default` if it cannot be read or is not of the type of `default`."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default
    return content if isinstance(content, type(default)) else default
