"""What runs on the board: it keeps what was measured, however it ends."""

from __future__ import annotations

import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "roles/llama_bench/files/bench"
NAMES = runpy.run_path(str(SCRIPT))
#: As a Pi 5 prints it; two of its regulators, and an input that has a voltage alone.
PMIC = """   3V7_WL_SW_A current(0)=0.10000000A
     VDD_CORE_A current(7)=2.00000000A
   3V7_WL_SW_V volt(8)=3.70000000V
     VDD_CORE_V volt(15)=0.75000000V
        EXT5V_V volt(24)=5.10000000V
"""


def job(tmp_path: Path, steps: dict[str, list[str]], limit: float = 30) -> list[str]:
    content = {
        "run": "20260101T000000Z",
        "about": {"host": "pi-01"},
        "steps": [{"name": name, "argv": argv, "expect_s": 1} for name, argv in steps.items()],
        "limit_s": limit,
        "interval_s": 0.1,
        "settle_s": 0.2,
    }
    (tmp_path / "job.json").write_text(json.dumps(content))
    return [sys.executable, str(SCRIPT), str(tmp_path / "job.json"), str(tmp_path)]


def result(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "20260101T000000Z.json").read_text())


def prints(text: str) -> list[str]:
    return [sys.executable, "-c", f"print({text!r})"]


FAILS = [sys.executable, "-c", "import sys; print('half', flush=True); sys.exit(3)"]
HANGS = [sys.executable, "-c", "import time; print('half', flush=True); time.sleep(60)"]


def test_all_steps_are_kept_with_what_they_print(tmp_path: Path) -> None:
    done = subprocess.run(
        job(tmp_path, {"card": prints("[1]"), "context": prints("[2]")}), capture_output=True, text=True, check=False
    )
    found = result(tmp_path)
    assert (done.returncode, found["state"], found["about"]) == (0, "finished", {"host": "pi-01"})
    assert [(step["name"], step["rc"], step["output"]) for step in found["steps"]] == [
        ("card", 0, "[1]\n"),
        ("context", 0, "[2]\n"),
    ]
    assert all(step["peak_mib"] > 1 for step in found["steps"])
    times = [sample["t"] for sample in found["samples"]]
    assert times[0] < found["steps"][0]["started"]
    assert times[-1] > found["steps"][-1]["ended"] - 0.1
    assert all("available_mib" in sample for sample in found["samples"])


def test_a_step_that_fails_keeps_no_other_from_being_run(tmp_path: Path) -> None:
    steps = {"card": FAILS, "missing": [str(tmp_path / "nothing")], "context": prints("[2]")}
    done = subprocess.run(job(tmp_path, steps), capture_output=True, text=True, check=False)
    found = result(tmp_path)
    assert [step["rc"] for step in found["steps"]] == [3, 127, 0]
    assert (done.returncode, found["state"], found["steps"][0]["output"]) == (0, "failed", "half\n")


def test_nothing_measured_is_a_failure(tmp_path: Path) -> None:
    assert subprocess.run(job(tmp_path, {"card": FAILS}), capture_output=True, check=False).returncode == 1


def test_a_step_that_hangs_is_ended_and_what_was_before_is_kept(tmp_path: Path) -> None:
    steps = {"card": prints("[1]"), "own": HANGS, "context": prints("[2]")}
    done = subprocess.run(job(tmp_path, steps, limit=1.5), capture_output=True, text=True, check=False)
    found = result(tmp_path)
    assert (done.returncode, found["state"]) == (0, "limit")
    assert [(step["name"], step["rc"], step["timed_out"]) for step in found["steps"]] == [
        ("card", 0, False),
        ("own", -signal.SIGKILL, True),
    ]
    assert found["steps"][1]["output"] == "half\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_is_ended_has_what_was_measured(tmp_path: Path, number: signal.Signals) -> None:
    running = subprocess.Popen(
        job(tmp_path, {"card": prints("[1]"), "own": HANGS}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(200):
        if (tmp_path / "20260101T000000Z.json").exists() and result(tmp_path)["steps"]:
            break
        time.sleep(0.05)
    running.send_signal(number)
    running.communicate(timeout=20)
    found = result(tmp_path)
    assert found["steps"][0]["output"] == "[1]\n"
    assert found["state"] == ("stopped" if number == signal.SIGTERM else "running")


def test_a_result_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    words = job(tmp_path, {"card": prints("[1]")})
    done = subprocess.run([*words[:-1], "/dev/full"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_progress_is_in_percent(tmp_path: Path) -> None:
    slow = [sys.executable, "-c", "import time; time.sleep(1)"]
    done = subprocess.run(job(tmp_path, {"a": slow, "b": slow}), capture_output=True, text=True, check=False)
    percents = [int(line.partition("%")[0]) for line in done.stdout.splitlines() if "% " in line]
    assert percents == sorted(percents)
    assert any(50 <= percent < 100 for percent in percents)


def test_power_is_that_of_what_has_both_current_and_voltage() -> None:
    assert NAMES["watts"](PMIC) == pytest.approx(0.1 * 3.7 + 2 * 0.75)
    assert NAMES["watts"]('error=1 error_msg="Command not registered"') is None


def test_others_are_what_the_benchmark_did_not_use(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    own = tmp_path / "sys/fs/cgroup/system.slice/llama-bench.service"
    own.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/llama-bench.service\n")

    def at(ticks: int, usec: int) -> None:
        (tmp_path / "proc/stat").write_text(f"cpu  {ticks} 0 0 500 0 0 0 0 0 0\ncpu0 1 2 3\n")
        (own / "cpu.stat").write_text(f"usage_usec {usec}\nuser_usec 1\n")

    at(1000, 4_000_000)
    board = NAMES["Board"](tmp_path)
    board.before = (*board.before[:2], board.before[2] - 10)  # ten seconds ago
    at(1000 + 3300, 4_000_000 + 30_000_000)
    assert board.others() == pytest.approx(0.3, abs=0.01)
    (own / "cpu.stat").unlink()
    assert board.others() is None


def test_busy_processes_are_named() -> None:
    before = {"1": ("init", 100), "2": ("apt", 100)}
    after = {"1": ("init", 101), "2": ("apt", 150), "3": ("new", 5)}
    assert NAMES["busy"](before, after, 1.0) == [{"name": "apt", "cores": 0.5}]
