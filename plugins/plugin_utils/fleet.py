"""The order in which a fleet changes, and what is reported about it. All functions are pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_text
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_status import pending_changes
from ansible_collections.ik_llama.pi.plugins.plugin_utils.hosts import fact

HostVars = Mapping[str, Mapping[str, Any]]

UNCHANGED = {
    "lost": "lost contact during activation. Check the board, then run site.yml again to finish.",
    "untouched": "not changed, because another board failed",
}


def rolling_batches(boards: list[str], sizes: Any = None) -> list[list[str]]:
    """Return the boards in the order in which they change, those together that change at the same time.

    Args:
        sizes: as in Ansible's keyword `serial`: a number, a percentage, or a list of these, whose last one holds for
            all that are left. None: one board, then half of the rest, then the rest.
    """
    rest = max(len(boards) - 1, 0)
    chosen = [1, rest // 2, rest - rest // 2] if sizes is None else sizes if isinstance(sizes, list) else [sizes]
    numbers = [_number(size, len(boards)) for size in chosen]
    batches: list[list[str]] = []
    left = list(boards)
    while left:
        number = numbers[min(len(batches), len(numbers) - 1)]
        batches.append(left[:number])
        left = left[number:]
    return batches


def _number(size: Any, boards: int) -> int:
    """Return the number of boards in a batch, at least one."""
    text = str(size).strip()
    return max(boards * int(text[:-1]) // 100 if text.endswith("%") else int(text), 1)


def rolling_failures(play: list[str], batch: list[str], hostvars: HostVars) -> list[str]:
    """Return the boards of earlier batches that failed, or were lost before they could report.

    Args:
        play: all boards in the order of the play (`ansible_play_hosts_all`).
        batch: those whose turn it is.
    """
    earlier = play[: play.index(batch[0])] if batch else play
    return [name for name in earlier if not hostvars[name].get("serve_outcome")]


def serve_results(boards: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return name, state (serves, failed, lost or untouched) and a sentence for each board.

    Args:
        boards: variables of the boards; `serve_begun` where its turn came, `serve_outcome` where the change went well,
            `serve_failure` where it did not.
    """
    results = []
    for board in boards:
        failure = str(board.get("serve_failure", "")).strip().splitlines()
        name = board["inventory_hostname"]
        if failure:
            results.append((name, "failed", failure[0].removeprefix(f"{name}: ")))
        elif board.get("serve_outcome"):
            results.append((name, "serves", str(board["serve_outcome"])))
        else:
            state = "lost" if board.get("serve_begun") else "untouched"
            results.append((name, state, UNCHANGED[state]))
    return results


def serve_summary(boards: Iterable[Mapping[str, Any]]) -> str:
    """Return a line for each outcome of boards that did not fail, and how to roll back what changed where others did.

    A board that failed reports that itself. Boards as for `serve_results`.
    """
    results = serve_results(boards)
    changed = [name for name, state, _text in results if state == "serves"]
    names_by_text: dict[str, list[str]] = {}
    for name, state, text in results:
        if state != "failed":
            names_by_text.setdefault(text, []).append(name)
    lines = [f"{', '.join(names)}: {text}" for text, names in names_by_text.items()]
    if changed and len(changed) < len(results):
        lines.append(
            "To roll back the boards that changed: ansible-playbook playbooks/rollback.yml --limit " + ",".join(changed)
        )
    return "".join(f"{line}\n" for line in lines)


def hosts_with_former_keys(names: Iterable[str], hostvars: HostVars, gateways: list[str]) -> list[str]:
    """Return the boards that keep API keys which are not in their list any more, and which no gateway needs.

    Args:
        hostvars: with `gateway_key_digest` of each gateway that was configured in this run: that of the key it uses.
    """
    in_use = {fact(hostvars, gateway, "gateway_key_digest") for gateway in gateways}

    def former(name: str) -> bool:
        plan = fact(hostvars, name, "llama_server_plan")
        keys = fact(hostvars, name, "llama_server_api_keys") or []
        wanted = {sha256_text(key) for key in keys}
        return bool(plan and plan["keys_surplus"] and in_use and in_use <= wanted)

    return [name for name in names if former(name)]


def fleet_status(names: Iterable[str], hostvars: HostVars) -> list[dict[str, Any]]:
    """Return the state of each board, as `status_text` takes it, from the facts that its roles published.

    Args:
        names: the boards.
        hostvars: with `llama_server_status`, and the plans of the roles that make engine and model. Where something
            failed, `status_problem` or `status_plan_problem` says why; `status_reached` is the result of a ping.
    """
    boards = []
    for name in names:
        facts = hostvars[name]
        board: dict[str, Any] = {"name": name}
        reached = facts.get("status_reached", {})
        if reached.get("unreachable"):
            board["problem"] = f"unreachable: {' '.join(str(reached.get('msg', '')).split())}"
        elif "llama_server_status" not in facts:
            board["problem"] = f"unknown: {facts.get('status_problem', 'the board was not asked')}"
        else:
            status = facts["llama_server_status"]
            board |= {**status, "board": facts["ansible_facts"]["pi_base_board"]}
            release, model = facts.get("ik_llama_install_plan"), facts.get("gguf_distribute_plan")
            if release and model:
                wanted = {
                    **status["wanted"],
                    "release": release["id"],
                    "commit": release["commit"],
                    "sha256": model["manifest"].get("sha256", ""),
                    "recipe": model["recipe"],
                }
                board["changes"] = pending_changes(status, wanted)
            else:
                board["changes"] = [f"unknown: {facts.get('status_plan_problem', 'engine or model are not known')}"]
        boards.append(board)
    return boards
