# SPDX-License-Identifier: Apache-2.0
"""Progress lines of a long command, and its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible import constants
from ansible.utils.display import Display
from ansible_collections.ik_llama.pi.plugins.module_utils.common.progress import remaining

#: Callbacks whose output programs read: of `ansible.posix`, one object, or one in each line.
STRUCTURED = ("json", "jsonl")

#: Lines of the log in the message of a command that failed; the result has more of them.
SHOWN = 12


def follow(
    seen: Mapping[str, Any], look: Callable[[str], Mapping[str, Any]], say: Callable[[str], None]
) -> Mapping[str, Any]:
    """Show progress until the command ends, and return what was seen last.

    Args:
        seen: what `start` of long_jobs.py returned of the job, and `look` of how far it is.
        look: takes the job's ID, waits for some seconds, returns the same again.
        say: shows one line.
    """
    shown, shown_at = -100, time.monotonic()
    reached, reached_at = "", 0.0
    while "finished" in seen and not seen["finished"]:
        progress = seen["progress"]
        now = time.monotonic()
        if progress and progress["text"] != reached:
            reached, reached_at = progress["text"], seen["elapsed"]
        if progress and (progress["percent"] >= shown + 10 or now - shown_at > 60):
            shown, shown_at = progress["percent"], now
            left = remaining(progress["percent"], reached_at, seen["elapsed"] - reached_at)
            say(", ".join(part for part in (progress["text"], left) if part))
        elif not progress and now - shown_at > 60:
            shown_at = now
            say(f"running for {seen['elapsed'] / 60:.0f} min")
        seen = look(seen["job"])
    return seen


def show(text: str) -> None:
    """Show one line, on stderr where stdout is one that programs read."""
    callback = str(constants.DEFAULT_STDOUT_CALLBACK).rpartition(".")[2]
    Display().display(text, stderr=callback in STRUCTURED)


def begun(seen: Mapping[str, Any], expect: str) -> str:
    """Return the line that is shown first, empty if there is nothing to say."""
    if seen.get("attached"):
        return "already running, attached"
    return f"started; {expect}" if expect and not seen.get("finished", True) else ""


def result(name: str, host: str, attached: bool, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a task whose command has ended. `host`: where its log is."""
    found = {
        "changed": True,
        "attached": attached,
        **{key: seen[key] for key in ("rc", "log", "tail", "seconds", "cpu_seconds")},
    }
    if seen["rc"] != 0:
        last = "\n".join(seen["tail"][-SHOWN:])
        found["failed"] = True
        found["msg"] = (
            f"{name} ended with code {seen['rc']}. The last lines:\n{last}\nThe whole log is on {host}: {seen['log']}"
        )
    return found


def check_result(name: str, directory: str) -> dict[str, Any]:
    """Return the result of a task in check mode."""
    return {
        "changed": True,
        "rc": 0,
        "log": f"{directory}/log",
        "tail": [],
        "seconds": 0.0,
        "cpu_seconds": 0.0,
        "attached": False,
        "msg": f"{name}: would run",
    }
