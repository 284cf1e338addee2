"""What is told of a fleet, and what site.yml would change."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.server.fleet_status import (
    changed_options,
    changes_text,
    duration,
    last_answer,
    pending_changes,
    status_rows,
    status_text,
)

DEPLOYMENT: dict[str, Any] = {
    "key": "k1",
    "engine": "e1",
    "model": "m1" * 32,
    "arguments": [["--threads", "3"], ["--ctx-size", "16384"], ["--mlock"]],
    "unit": "u1",
    "watchdog": "w1",
}
SERVING: dict[str, Any] = {"deployment": DEPLOYMENT, "running": "k1", "proven": "k1"}
WANTED: dict[str, Any] = {
    "engine": "e1",
    "commit": "c" * 40,
    "sha256": "m1" * 32,
    "recipe": "card",
    "arguments": DEPLOYMENT["arguments"],
    "unit": "u1",
    "watchdog": "w1",
}
BOARD: dict[str, Any] = {
    "name": "pi-01",
    "board": {
        "memory_mib": 16220,
        "disk_free_mib": 20480,
        "temperature_c": 61.2,
        "throttled": {"raw": 0, "now": [], "since_boot": []},
    },
    "server": {"health": "ok", "memory_mib": 12700, "up_s": 90000, "answer": {"tokens_per_second": 4.531}},
    "deployment": DEPLOYMENT,
    "recipe": "card",
    "changes": [],
}


def test_nothing_changes_where_all_is_as_wanted() -> None:
    assert pending_changes(SERVING, WANTED) == []


@pytest.mark.parametrize(
    ("serving", "wanted", "words"),
    [
        ({"deployment": {}}, {}, "everything: nothing is in service"),
        ({}, {"engine": "e2"}, f"engine e1 -> e2 (commit {'c' * 12})"),
        ({}, {"engine": ""}, f"engine e1 -> to be compiled (commit {'c' * 12})"),
        ({}, {"sha256": "", "recipe": "lean"}, "model m1m1m1m1m1m1 -> by recipe lean, still to be made"),
        ({}, {"sha256": "m2" * 32}, "model m1m1m1m1m1m1 -> m2m2m2m2m2m2 (recipe card)"),
        ({}, {"arguments": [["--threads", "2"], ["--ctx-size", "16384"], ["--mlock"]]}, "--threads 3 -> 2"),
        ({}, {"unit": "u2"}, "the systemd unit"),
        ({}, {"watchdog": "w2"}, "the watchdog"),
        ({"running": ""}, {}, "start of the service: it does not run"),
        ({"running": "k0"}, {}, "start of the service: another deployment runs"),
        ({"proven": "k0"}, {}, "proof: this deployment was never seen to answer"),
    ],
)
def test_each_change_is_told(serving: dict[str, Any], wanted: dict[str, Any], words: str) -> None:
    assert pending_changes({**SERVING, **serving}, {**WANTED, **wanted}) == [words]


def test_options_that_come_go_and_stand_twice() -> None:
    before = [["--mlock"], ["-q", "a=1"], ["-q", "b=2"]]
    assert changed_options(before, [["-q", "a=1"], ["--jinja"]]) == [
        "--mlock on -> -",
        "-q a=1 b=2 -> a=1",
        "--jinja - -> on",
    ]


def test_the_last_answer_is_read_from_the_journal() -> None:
    said = (
        "{}.420341 pi-01 llama-server[7]: {} time =  119.66 ms / 16 tokens (  7.48 ms per token,  {} tokens per second)"
    )
    lines = [
        "1795515030.1 pi-01 llama-server[7]: INFO all slots are idle",
        said.format(1795515025, "       eval", 133.71),
        said.format(1795515025, "prompt eval", 32.96),
        said.format(1795515000, "       eval", 1.0),
    ]
    assert last_answer(lines) == {"tokens_per_second": 133.71, "prompt_tokens_per_second": 32.96, "at": 1795515025.0}
    assert last_answer(lines[:2]) == {"tokens_per_second": 133.71, "at": 1795515025.0}
    assert last_answer([]) == {}


@pytest.mark.parametrize(("seconds", "words"), [(20, "20s"), (420, "7m"), (18720, "5h 12m"), (273600, "3d 4h")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_row_says_all_of_a_board() -> None:
    row = dict(zip(*status_rows([BOARD])))
    assert row["temp"] == "61 C"
    assert row["throttled"] == "no"
    assert row["tokens/s"] == "4.53"
    assert row["memory"] == "12700 of 16220 MiB"
    assert row["disk free"] == "20.0 GiB"
    assert row["up"] == "1d 1h"
    assert row["context"] == "16384"
    assert row["site.yml would change"] == "nothing"


def test_throttling_is_told_now_and_since_boot_and_unknown_is_not_no() -> None:
    told = {"raw": 0x50001, "now": ["under-voltage"], "since_boot": ["under-voltage", "throttled"]}
    facts = {**BOARD["board"], "throttled": told}
    row = dict(zip(*status_rows([{**BOARD, "board": facts}])))
    assert row["throttled"] == "under-voltage, throttled (since boot)"
    facts = {**BOARD["board"], "throttled": {"raw": None, "now": [], "since_boot": []}, "temperature_c": None}
    row = dict(zip(*status_rows([{**BOARD, "board": facts}])))
    assert (row["throttled"], row["temp"]) == ("?", "?")


def test_what_cannot_be_told_takes_a_line_of_its_own() -> None:
    boards = [
        BOARD,
        {"name": "pi-02", "problem": "unreachable: no route to host"},
        {**BOARD, "name": "pi-03", "changes": ["--threads 3 -> 2"]},
    ]
    head, first, second, third = status_text(boards).splitlines()
    assert head.startswith("board  service")
    assert first.endswith("nothing")
    assert second == "pi-02  unreachable: no route to host"
    assert third.endswith("--threads 3 -> 2")
    assert changes_text(boards).splitlines()[1:] == ["pi-02: unreachable: no route to host", "pi-03: --threads 3 -> 2"]
