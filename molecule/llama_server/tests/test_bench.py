"""The real programs measure the board (role llama_bench), and the server runs again however that ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import results, shown

UNIT = "llama-bench.service"
RESULTS = "/var/lib/llama-bench"
LIMIT = ("--limit", "pi-01:localhost")
SHORT = {"llama_bench_repetitions": 2, "llama_bench_context": 1024, "llama_bench_interval": 1}
#: Long enough to be in the middle of it.
LONG = {"llama_bench_repetitions": 200, "llama_bench_context": 0, "llama_bench_interval": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def words(folder: Path, options: dict[str, Any]) -> list[str]:
    return ["playbooks/bench.yml", *LIMIT, "-e", json.dumps({**options, "llama_bench_folder": str(folder)})]


def wait(condition: Callable[[], bool], seconds: int) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def state(board: Any, unit: str) -> str:
    return str(board.run(f"systemctl show -P ActiveState {unit}").stdout.strip())


def measuring(board: Any) -> bool:
    """Return whether llama-bench itself runs, so that the server was stopped."""
    return board.run("pgrep -x llama-bench").rc == 0


def begin(begin_playbook: Any, board: Any, folder: Path) -> Any:
    run = begin_playbook(*words(folder, LONG))
    wait(lambda: measuring(board) or run.poll() is not None, 300)
    assert run.poll() is None, run.ended()
    assert state(board, "llama-server") == "inactive"
    return run


def serves(board: Any, asked: Any) -> None:
    wait(lambda: state(board, "llama-server") == "active", 60)
    assert asked(board, 8080) == "abcdefghijkl"


def stored(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "results/pi-01").glob("*.json"))]


def test_a_board_is_measured_and_serves_as_before(board: Any, run_playbook: Any, asked: Any, folder: Path) -> None:
    before = board.check_output("readlink /var/lib/llama/current /opt/ik_llama/current")
    run = run_playbook(*words(folder, SHORT))
    assert run.returncode == 0, shown(run.stdout)
    serves(board, asked)
    assert board.check_output("readlink /var/lib/llama/current /opt/ik_llama/current") == before
    (result,) = stored(folder)
    steps = {step["name"]: step for step in result["steps"]}
    assert list(steps) == ["bandwidth", "card", "own", "context"]
    assert {name: (step["rc"], step["errors"][-500:]) for name, step in steps.items() if step["rc"]} == {}
    (report,) = (folder / "reports").glob("*/report.json")
    (measured,) = json.loads(report.read_text())["boards"]
    one = measured["summary"]
    assert {kind for its in one["settings"].values() for kind in its} == {"prompt", "generation"}
    assert [row["context"] for row in one["context"]] == [0, 512]
    assert one["bandwidth"] > 1e8
    assert measured["verdict"]["incomparable"]
    assert (report.parent / "report.html").stat().st_size > 10_000
    assert board.check_output(f"ls {RESULTS}") == ""


def test_the_programs_are_built_once(board: Any, run_playbook: Any, folder: Path) -> None:
    run = run_playbook(*words(folder, SHORT), "--check")
    assert run.returncode == 0, shown(run.stdout)
    assert [result.host for result in results(run.stdout, "engine_release_info")] == []
    release = json.loads(board.file("/opt/ik_llama/bench/release.json").content_string)
    assert sorted(release["targets"]) == ["llama-bench", "llama-sweep-bench"]


def test_the_server_runs_after_a_benchmark_was_killed(
    board: Any, begin_playbook: Any, asked: Any, folder: Path
) -> None:
    run = begin(begin_playbook, board, folder)
    board.check_output(f"systemctl kill --signal=KILL {UNIT}")
    serves(board, asked)
    output = run.ended()
    assert run.returncode == 2, output
    # What was measured before is kept.
    assert any(step["name"] == "bandwidth" and step["rc"] == 0 for step in stored(folder)[-1]["steps"])


def test_the_server_runs_after_playbook_and_board_were_lost(
    board: Any, begin_playbook: Any, fleet: Any, asked: Any, folder: Path
) -> None:
    run = begin(begin_playbook, board, folder)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert measuring(board)
    fleet.restart("pi-01")
    serves(board, asked)
    assert state(board, UNIT) == "inactive"


def test_a_server_in_maintenance_stays_stopped(board: Any, run_playbook: Any, asked: Any, folder: Path) -> None:
    assert run_playbook("playbooks/maintenance.yml", "--limit", "pi-01").returncode == 0
    run = run_playbook(*words(folder, {**SHORT, "llama_bench_context": 0, "llama_bench_bandwidth": False}))
    assert run.returncode == 0, shown(run.stdout)
    assert state(board, "llama-server") == "inactive"
    # It has the result of the one before it, too, whose controller was lost.
    assert [result["state"] for result in stored(folder)[-2:]] == ["stopped", "finished"]
    assert run_playbook("playbooks/maintenance.yml", "--limit", "pi-01", "-e", "maintenance=end").returncode == 0
    serves(board, asked)
