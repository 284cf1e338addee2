"""What a run of Ansible did, from the output of its callback `ansible.posix.jsonl`: results, not names of tasks."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What a run needs in its environment to be read here.
JSONL = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_JSON_INDENT": "0"}
EVENTS = {f"v2_runner_on_{outcome}": outcome for outcome in ("ok", "failed", "skipped", "unreachable")}


class Background(subprocess.Popen[str]):
    """A run during which the test goes on, in a session of its own.

    It prints into a file: a pipe that nobody reads stops it at 64 KiB.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it is open as long as the run)
        super().__init__(
            command,
            cwd=folder,
            env={**os.environ, **JSONL},
            stdout=self.output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ended(self, seconds: float = 300) -> str:
        """Return all that it printed until its end."""
        self.wait(seconds)
        self.output.seek(0)
        return self.output.read()


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


def changed(output: str) -> int:
    """Return how many tasks changed something, on all hosts together."""
    return sum(counts["changed"] for counts in stats(output).values())


def facts(output: str, host: str) -> dict[str, Any]:
    """Return what was set by `set_fact` on a host, the last value of each."""
    found: dict[str, Any] = {}
    for result in results(output, "set_fact"):
        if result.host == host and result.outcome == "ok":
            found.update(result.data.get("ansible_facts", {}))
    return found


def _texts(data: dict[str, Any]) -> Iterator[str]:
    for item in [data, *(item for item in data.get("results", []) if isinstance(item, dict))]:
        message = item.get("msg", "")
        yield from (str(line) for line in (message if isinstance(message, list) else [message]) if line != "")


def shown(output: str, host: str = "", *outcomes: str) -> str:
    """Return the messages of the results of one host, or of all, of those outcomes, or of all."""
    return "\n".join(
        text
        for result in results(output)
        if host in ("", result.host) and result.outcome in (outcomes or EVENTS.values())
        for text in _texts(result.data)
    )


def refused(output: str, host: str = "") -> str:
    """Return the messages of what failed, or could not be reached."""
    return shown(output, host, "failed", "unreachable")


def warnings(output: str) -> list[str]:
    """Return the warnings, each in one line: those of results, and those that Ansible printed between them."""
    found = [str(text) for result in results(output) for text in result.data.get("warnings") or []]
    rest = " ".join(line for line in output.splitlines() if not line.startswith('{"_event"'))
    return found + [" ".join(text.split()) for text in rest.split("[WARNING]: ")[1:]]


def diffs(output: str) -> list[tuple[str, str]]:
    """Return what stood before and what after, of all differences that were shown."""
    found = []
    for result in results(output):
        for item in [result.data, *(item for item in result.data.get("results", []) if isinstance(item, dict))]:
            given = item.get("diff") or []
            for diff in given if isinstance(given, list) else [given]:
                found.append((str(diff.get("before", "")), str(diff.get("after", ""))))
    return found
