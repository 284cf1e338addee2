"""The state of a fleet, and what site.yml would change."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_status import (
    COLUMNS,
    changed_options,
    changes_text,
    duration,
    kinds_of_changes,
    pending_changes,
    status_rows,
    status_text,
)
from naming import unnamed

FILES = {"run": "r1", "watchdog": "w1", "llama-server.service": "u1"}
DEPLOYMENT: dict[str, Any] = {
    "id": "k1",
    "release": "e1",
    "model": "m1" * 32,
    "arguments": [["--threads", "3"], ["--ctx-size", "16384"], ["--mlock"]],
    "files": FILES,
}
SERVING: dict[str, Any] = {
    "deployment": DEPLOYMENT,
    "altered": [],
    "keys_change": False,
    "running": "k1",
    "verified": "k1",
}
WANTED: dict[str, Any] = {
    "release": "e1",
    "commit": "c" * 40,
    "sha256": "m1" * 32,
    "recipe": "card",
    "arguments": DEPLOYMENT["arguments"],
    "files": FILES,
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
    ("serving", "wanted", "kind", "names"),
    [
        ({"deployment": {}}, {}, "everything", []),
        ({}, {"release": "e2"}, "engine", ["e1", "e2", "c" * 12]),
        ({}, {"release": ""}, "compile", ["e1", "c" * 12]),
        ({}, {"sha256": "", "recipe": "lean"}, "quantize", ["m1" * 6, "lean"]),
        ({}, {"sha256": "m2" * 32}, "model", ["m1" * 6, "m2" * 6, "card"]),
        ({}, {"arguments": [["--threads", "2"], ["--ctx-size", "16384"], ["--mlock"]]}, "option", ["--threads", 3, 2]),
        ({}, {"files": {**FILES, "run": "r2", "llama-server.service": "u2"}}, "unit", []),
        ({}, {"files": {**FILES, "run": "r2", "watchdog": "w2"}}, "watchdog", []),
        ({}, {"files": {"run": "r2", "llama-server.service": "u1"}}, "watchdog", []),
        ({}, {"files": {**FILES, "run": "r2"}}, "script", []),
        ({"deployment": {**DEPLOYMENT, "files": {}}}, {}, "format", []),
        ({"altered": ["run", "watchdog"]}, {}, "altered", ["run", "watchdog"]),
        ({"keys_change": True}, {}, "keys", []),
        ({"running": ""}, {}, "start", []),
        ({"running": "k0"}, {}, "restart", []),
        ({"verified": "k0"}, {}, "verify", []),
    ],
)
def test_each_change_is_told(serving: dict[str, Any], wanted: dict[str, Any], kind: str, names: list[Any]) -> None:
    ((found, words),) = kinds_of_changes({**SERVING, **serving}, {**WANTED, **wanted})
    assert found == kind
    assert unnamed(words, *names) == []
    assert pending_changes({**SERVING, **serving}, {**WANTED, **wanted}) == [words]


def test_options_that_come_go_and_stand_twice() -> None:
    before = [["--mlock"], ["-q", "a=1"], ["-q", "b=2"]]
    assert changed_options(before, [["-q", "a=1"], ["--jinja"]]) == [
        "--mlock on -> -",
        "-q a=1 b=2 -> a=1",
        "--jinja - -> on",
    ]


@pytest.mark.parametrize(("seconds", "words"), [(20, "20s"), (420, "7m"), (18720, "5h 12m"), (273600, "3d 4h")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def cells(board: dict[str, Any]) -> dict[str, str]:
    """The row of a board, by column."""
    _, row = status_rows([board])
    return dict(zip(COLUMNS, row))


def test_a_row_says_all_of_a_board() -> None:
    row = cells(BOARD)
    assert unnamed(row["temperature"], 61) == []
    assert row["speed"] == "4.53"
    assert unnamed(row["memory"], 12700, 16220, "MiB") == []
    assert unnamed(row["disk"], "20.0", "GiB") == []
    assert row["up"] == "1d 1h"
    assert row["context"] == "16384"
    assert (row["board"], row["engine"], row["model"], row["recipe"]) == ("pi-01", "e1", "m1" * 6, "card")
    other = cells({**BOARD, "changes": ["--threads 3 -> 2"]})
    assert {column for column in COLUMNS if row[column] != other[column]} == {"changes"}
    assert other["changes"] == "--threads 3 -> 2"


def test_throttling_is_told_now_and_since_boot_and_unknown_is_not_no() -> None:
    def throttled(raw: int | None, now: list[str], since_boot: list[str]) -> str:
        facts = {**BOARD["board"], "throttled": {"raw": raw, "now": now, "since_boot": since_boot}}
        return cells({**BOARD, "board": facts})["throttled"]

    both = throttled(0x50001, ["under-voltage"], ["under-voltage", "throttled"])
    assert unnamed(both, "under-voltage", "throttled") == []
    assert both.count("under-voltage") == 1
    different = {
        both,
        throttled(0x50000, [], ["under-voltage", "throttled"]),
        throttled(0x50005, ["under-voltage", "throttled"], ["under-voltage", "throttled"]),
        throttled(0, [], []),
        throttled(None, [], []),
    }
    assert len(different) == 5
    warm, unknown = (cells({**BOARD, "board": {**BOARD["board"], "temperature_c": at}}) for at in (0.0, None))
    assert warm["temperature"] != unknown["temperature"]


def test_what_cannot_be_told_takes_a_line_of_its_own() -> None:
    boards = [
        BOARD,
        {"name": "pi-02", "problem": "unreachable: no route to host"},
        {**BOARD, "name": "pi-03", "changes": ["--threads 3 -> 2"]},
    ]
    head, first, second, third = status_text(boards).splitlines()
    assert unnamed(head, *COLUMNS.values()) == []
    assert first.split()[0] == "pi-01"
    assert second == "pi-02  unreachable: no route to host"
    assert third.endswith("--threads 3 -> 2")
    assert changes_text(boards).splitlines()[1:] == ["pi-02: unreachable: no route to host", "pi-03: --threads 3 -> 2"]
