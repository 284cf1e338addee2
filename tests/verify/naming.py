"""What a message names: variables, hosts, values. How it says it is not for a test to know."""

from __future__ import annotations

import re
from typing import Any


def named(text: Any, part: Any) -> bool:
    """Return whether `text` has `part` in it as a word or number of its own: 80 is not named by 8080."""
    return re.search(rf"(?<!\w){re.escape(str(part))}(?!\w)", str(text)) is not None


def unnamed(text: Any, *parts: Any) -> list[str]:
    """Return those of `parts` that `text` does not name; an empty list is what a test wants."""
    return [str(part) for part in parts if not named(text, part)]
