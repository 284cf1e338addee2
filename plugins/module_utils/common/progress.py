"""Progress of a long command, read from the newest part of its output.

Two notations are known: ``[n/m]`` (ninja, llama-quantize) and ``NN%`` (rsync
``--info=progress2``, make). Programs that redraw one line end it with a
carriage return, which therefore counts as an end of line here.

Others count steps without their number, which their caller knows: ``[n]5.4321,``
(llama-perplexity, llama-imatrix), and a table whose rows begin with ``n`` and a
figure with its error (llama-perplexity with ``--kl-divergence``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_COUNT = re.compile(r"\[\s*(\d+)\s*/\s*(\d+)\s*\]")
_PERCENT = re.compile(r"(?<![\d.])(\d{1,3})(?:\.\d+)?\s?%")
_BREAK = re.compile(r"[\r\n]+")
_STEP = re.compile(r"\[(\d+)\](?=-?(?:\d|nan|inf))|^ *(\d+) +-?(?:\d[\d.]*|nan|inf) +±", re.MULTILINE)
_STEPS = re.compile(r" over (\d+) chunks")


class Progress(NamedTuple):
    """How far a command is: ``percent`` 0-100, ``text`` as it is shown."""

    percent: int
    text: str


def lines(output: str) -> list[str]:
    """Split output into its non-empty lines; ``\\r`` ends a line like ``\\n``."""
    return [line.rstrip() for line in _BREAK.split(output) if line.strip()]


def parse(output: str, steps: int = 0) -> Progress | None:
    """Return the newest progress found in output, or None where there is none.

    A count wins over a percentage in the same line: ``[212/480] ... 90%`` is the
    212th step of 480. Counts that make no sense (``[3/0]``, ``[9/4]``) are not
    progress.

    steps: how many steps the command has at most, where it counts them without their number; then nothing else is
    progress. What the command itself says (``over 64 chunks``) wins.
    """
    if steps:
        return _counted(output, steps)
    for line in reversed(lines(output)):
        for done, total in reversed(_COUNT.findall(line)):
            if 0 < int(total) >= int(done):
                percent = 100 * int(done) // int(total)
                return Progress(percent, f"{int(done)}/{int(total)} {percent}%")
        for found in reversed(_PERCENT.findall(line)):
            if int(found) <= 100:
                return Progress(int(found), f"{int(found)}%")
    return None


def _counted(output: str, steps: int) -> Progress | None:
    done = max((int(first or second) for first, second in _STEP.findall(output)), default=0)
    for said in _STEPS.findall(output):
        steps = int(said)
    if not 0 < done <= steps:
        return None
    percent = 100 * done // steps
    return Progress(percent, f"{done}/{steps} {percent}%")


def remaining(percent: int, elapsed: float, since: float = 0) -> str:
    """Say how long the rest takes at the pace so far; empty where nobody can tell.

    elapsed and since are seconds: until this progress was reached, and from then until now. Below 10 seconds or 2 %
    the pace says nothing yet, and a step that takes longer than all the rest should (a link) says it was wrong.
    """
    if elapsed < 10 or not 2 <= percent < 100:
        return ""
    left = elapsed * (100 - percent) / percent - since
    if left <= 0:
        return ""
    if left < 90:
        return f"about {max(1, round(left))} s left"
    if left < 90 * 60:
        return f"about {round(left / 60)} min left"
    return f"about {left / 3600:.1f} h left"


def tail(output: str, count: int = 30) -> list[str]:
    """Return the last count lines of output."""
    return lines(output)[-count:]
