"""Filters about the fleet as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def rolling_batches(boards: int) -> list[int]:
    """How many boards are changed at a time: one, then half of the rest, then the rest. Never an empty list."""
    rest = max(boards - 1, 0)
    return [1, *(size for size in (rest // 2, rest - rest // 2) if size)]


def rolling_failures(play: list[str], batch: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Boards of earlier batches that do not serve what they should, or have not said so (they went away).

    Args:
        play: all boards in the order of the play (`ansible_play_hosts_all`).
        batch: those whose turn it is (`ansible_play_batch`).
    """
    earlier = play[: play.index(batch[0])] if batch else play
    return [name for name in earlier if "serve_outcome" not in hostvars[name]]


def serve_summary(boards: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for each board that was to change: what it serves now, or why it does not.

    Args:
        boards: variables of the boards; `serve_outcome` where the change went well, `serve_failure` where it did not.
    """
    lines = []
    for board in boards:
        failure = str(board.get("serve_failure", "")).strip().splitlines()
        name = board["inventory_hostname"]
        said = failure[0].removeprefix(f"{name}: ") if failure else ""
        lines.append(f"{name}: {said or board.get('serve_outcome', 'not touched, because another board failed')}")
    return lines


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "rolling_batches": rolling_batches,
            "rolling_failures": rolling_failures,
            "serve_summary": serve_summary,
        }
