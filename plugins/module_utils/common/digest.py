"""Digests: of what a thing is made from, and of files.

Equal inputs give the equal ID on every host and in every Python, so that what is
already there under its ID need not be made again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 8 << 20  # bytes read at once


def canonical_json(value: Any) -> str:
    """Return the one JSON text of value: sorted keys, no spaces, plain ASCII.

    Raises ValueError for NaN and infinity, TypeError for what JSON does not know.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_id(fields: dict[str, Any], digits: int = 12) -> str:
    """Return the first hex digits of the SHA-256 of the canonical JSON of fields."""
    return hashlib.sha256(canonical_json(fields).encode("ascii")).hexdigest()[:digits]


def sha256_of(file: BinaryIO) -> str:
    """Return the SHA-256 in hex of what an open file has from here on. OSError if it cannot be read."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file in hex, read in chunks. OSError if it cannot be read."""
    with open(path, "rb") as file:
        return sha256_of(file)


def sha256_text(text: str) -> str:
    """Return the sha256 of a text in UTF-8, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
