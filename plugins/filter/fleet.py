"""Filters about the fleet as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.server.fleet_status import (
    changes_text,
    pending_changes,
    status_text,
)


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


def serve_results(boards: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return name, state (serves, failed, lost or untouched) and a sentence for each board; boards as below."""
    words = {
        "lost": "went away while it was changed: see to it, and run site.yml again, which ends that",
        "untouched": "not touched, because another board failed",
    }
    results = []
    for board in boards:
        failure = str(board.get("serve_failure", "")).strip().splitlines()
        name = board["inventory_hostname"]
        if failure:
            results.append((name, "failed", failure[0].removeprefix(f"{name}: ")))
        elif "serve_outcome" in board:
            results.append((name, "serves", str(board["serve_outcome"])))
        else:
            state = "lost" if board.get("serve_begun") else "untouched"
            results.append((name, state, words[state]))
    return results


def serve_summary(boards: Iterable[Mapping[str, Any]]) -> str:
    """What the boards that did not fail serve now, or why they were not touched; a line for each such text.

    Args:
        boards: variables of the boards; `serve_begun` where its turn came, `serve_outcome` where the change went well,
            `serve_failure` where it did not, which the board's own failure says.
    """
    names_by_text: dict[str, list[str]] = {}
    changed = []
    others = 0
    for name, state, said in serve_results(boards):
        if state != "failed":
            names_by_text.setdefault(said, []).append(name)
        if state == "serves":
            changed.append(name)
        else:
            others += 1
    lines = [f"{', '.join(names)}: {text}" for text, names in names_by_text.items()]
    if changed and others:
        lines.append(
            f"To take it back where it went well: ansible-playbook playbooks/rollback.yml --limit {','.join(changed)}"
        )
    return "\n".join(lines) + "\n"


def fleet_status(names: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What playbooks/status.yml has found out of each board, as `status_text` takes it."""
    boards = []
    for name in names:
        said = hostvars[name]
        board: dict[str, Any] = {"name": name}
        reached = said.get("status_reached", {})
        if reached.get("unreachable"):
            board["problem"] = f"unreachable: {' '.join(str(reached.get('msg', '')).split())}"
        elif "llama_server_status" not in said:
            board["problem"] = f"cannot tell: {said.get('status_problem', 'it was not asked')}"
        else:
            status, wanted = said["llama_server_status"], said.get("status_wanted")
            board |= {**status, "board": said["ansible_facts"]["pi_base_board"]}
            board["changes"] = (
                pending_changes(status, {**wanted, **said["llama_server_wanted"]})
                if wanted
                else [f"cannot tell: {said.get('status_wanted_problem', 'engine or model are not known')}"]
            )
        boards.append(board)
    return boards


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "rolling_batches": rolling_batches,
            "rolling_failures": rolling_failures,
            "serve_summary": serve_summary,
            "fleet_status": fleet_status,
            "changes_text": changes_text,
            "status_text": status_text,
        }
