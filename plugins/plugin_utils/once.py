"""A question that several processes of one run ask at the same time is answered once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
from collections.abc import Callable
from typing import Any


def once(folder: str, question: str, ask: Callable[[], Any]) -> Any:
    """Return the answer of `ask`, or that which another process got to the same question.

    The others wait meanwhile. `folder` is private to the run, and holds the answers until it ends. An `ask` that raises
    leaves no answer: the next one asks for itself.
    """
    path = os.path.join(folder, "once-" + hashlib.sha256(question.encode()).hexdigest())
    with open(path, "a+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        known = handle.read()
        if known:
            return pickle.loads(known)
        answer = ask()
        handle.write(pickle.dumps(answer))
        return answer
