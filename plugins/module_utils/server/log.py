"""What llama-server's log says. All functions are pure.

The lines are those of `server_slot::print_timings` in examples/server/server-context.cpp of ik_llama.cpp, written
after each answer, and those that a health check leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ANSWERED = re.compile(
    r"^(?P<at>\d+)(?:\.\d+)? \S+ \S+: +(?P<prompt>prompt )?eval time = .*?(?P<speed>[\d.]+) tokens per second"
)
# What a health check leaves in the log, and the unit's LogFilterPatterns where systemd knows that.
_NOISE = re.compile(r"slot data|all slots are idle|/health")


def telling_lines(journal: str, count: int) -> list[str]:
    """Return the last lines of a server's log, at most `count`, without those of health checks and idle slots."""
    return [line.rstrip() for line in journal.splitlines() if line.strip() and not _NOISE.search(line)][-count:]


def last_answer(journal: Iterable[str]) -> dict[str, float]:
    """Return the speed of the last answer: `tokens_per_second`, `prompt_tokens_per_second` and `at` (epoch seconds).

    Args:
        journal: lines of `journalctl --output=short-unix`, the newest first.

    Returns:
        Empty if nothing was answered.
    """
    found: dict[str, float] = {}
    for line in journal:
        match = ANSWERED.match(line)
        if match is None:
            continue
        if match["prompt"]:
            if found:
                return {**found, "prompt_tokens_per_second": float(match["speed"])}
        elif not found:
            found = {"tokens_per_second": float(match["speed"]), "at": float(match["at"])}
    return found
