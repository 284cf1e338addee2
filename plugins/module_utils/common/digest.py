"""Keys: short names made from what a thing is made of.

Equal inputs give the equal key on every host and in every Python, so that a thing
which stands under its key need not be made again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Return the one JSON text of value: sorted keys, no spaces, plain ASCII.

    Raises ValueError for NaN and infinity, TypeError for what JSON does not know.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(fields: dict[str, Any], digits: int = 12) -> str:
    """Return the first hex digits of the SHA-256 over the canonical JSON of fields."""
    return hashlib.sha256(canonical_json(fields).encode("ascii")).hexdigest()[:digits]
