"""The lock by which a long command shows that it runs."""

from __future__ import annotations

import fcntl
import os


def locked(directory: str) -> bool:
    """Tell whether a command (or a child that outlived its supervisor) runs in directory."""
    try:
        with open(os.path.join(directory, "lock"), "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
