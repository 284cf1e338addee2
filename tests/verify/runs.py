"""What a run of Ansible did, from the output of its callback `ansible.posix.jsonl`: results, not names of tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: What a run needs in its environment to be read here.
JSONL = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_JSON_INDENT": "0"}
EVENTS = {f"v2_runner_on_{outcome}": outcome for outcome in ("ok", "failed", "skipped", "unreachable")}


@dataclass(frozen=True)
class Result:
    """One task's result on one host.

    `outcome`: ok, failed, skipped or unreachable. `action`: the module or action, without its collection. `task`: file
    and line that it is in. `data`: all that the module returned; of a loop a list of that under `results`.
    """

    host: str
    outcome: str
    action: str
    task: str
    data: dict[str, Any]

    @property
    def changed(self) -> bool:
        return bool(self.data.get("changed"))


def events(output: str) -> Iterator[dict[str, Any]]:
    """Yield the events of the output; what else was printed (warnings, progress) is passed over."""
    for line in output.splitlines():
        if line.startswith('{"_event"'):
            yield json.loads(line)


def results(output: str, action: str = "") -> list[Result]:
    """Return the results in order, those of one module or action where it is named."""
    found = [
        Result(
            host, EVENTS[event["_event"]], str(data.get("action", "")).rpartition(".")[2], event["task"]["path"], data
        )
        for event in events(output)
        if event["_event"] in EVENTS
        for host, data in event["hosts"].items()
    ]
    return [result for result in found if action in ("", result.action)]


def failures(output: str) -> dict[str, Result]:
    """Return the first result of each host that failed or could not be reached."""
    found: dict[str, Result] = {}
    for result in results(output):
        if result.outcome in ("failed", "unreachable"):
            found.setdefault(result.host, result)
    return found


def stats(output: str) -> dict[str, dict[str, int]]:
    """Return the recap: for each host how many tasks were ok, changed, failures, unreachable, skipped."""
    return next((event["stats"] for event in events(output) if event["_event"] == "v2_playbook_on_stats"), {})
