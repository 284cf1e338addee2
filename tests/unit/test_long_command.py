"""The module with real processes, and the action plugin by a real Ansible run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common import long_jobs
from naming import unnamed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module() -> Any:
    return long_jobs


def wait_gone(pid: int) -> None:
    for _ in range(100):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return
        except ChildProcessError:
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} still lives")


def test_success(module: Any, tmp_path: Path) -> None:
    job = module.start("x", ["sh", "-c", "pwd; echo '[3/4]'"], str(tmp_path), str(tmp_path / "job"))
    assert job["attached"] is False
    seen = module.look(str(tmp_path / "job"), job["id"], 10)
    assert (seen["finished"], seen["rc"]) == (True, 0)
    assert seen["tail"] == [str(tmp_path), "[3/4]"]
    assert seen["progress"] == {"percent": 75, "text": "3/4 75%"}
    assert seen["cpu_seconds"] >= 0


def test_progress_is_found_before_megabytes_of_warnings(module: Any, tmp_path: Path) -> None:
    command = "echo '[3/4] one.cpp'; head -c 3000000 /dev/zero | tr '\\0' w"
    job = module.start("x", ["sh", "-c", command], None, str(tmp_path))
    assert module.look(str(tmp_path), job["id"], 10)["progress"] == {"percent": 75, "text": "3/4 75%"}


def test_failure_keeps_the_last_lines(module: Any, tmp_path: Path) -> None:
    job = module.start("x", ["sh", "-c", "seq 1 100; exit 3"], None, str(tmp_path))
    seen = module.look(str(tmp_path), job["id"], 10)
    assert seen["rc"] == 3
    assert seen["tail"] == [str(n) for n in range(71, 101)]
    assert Path(seen["log"]).read_text().startswith("1\n2\n")


def test_missing_program_is_named(module: Any, tmp_path: Path) -> None:
    with pytest.raises(module.JobError) as caught:
        module.start("x", ["no-such-program"], None, str(tmp_path))
    assert caught.value.code == "program"
    assert unnamed(caught.value, "no-such-program") == []


def test_same_command_is_attached_to_and_another_refused(module: Any, tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 3; exit 5"]
    first = module.start("x", argv, None, str(tmp_path))
    second = module.start("x", argv, None, str(tmp_path))
    assert second["attached"] is True
    assert second["id"] == first["id"]
    with pytest.raises(module.JobError) as caught:
        module.start("x", ["true"], None, str(tmp_path))
    assert caught.value.code == "busy"
    assert unnamed(caught.value, tmp_path, first["pid"], "sh -c 'sleep 3; exit 5'") == []
    assert module.look(str(tmp_path), second["id"], 10)["rc"] == 5
    assert module.start("x", ["true"], None, str(tmp_path))["attached"] is False


def test_killed_job_is_no_success(module: Any, tmp_path: Path) -> None:
    job = module.start("x", ["sleep", "60"], None, str(tmp_path))
    time.sleep(0.3)
    os.killpg(job["pid"], signal.SIGKILL)
    wait_gone(job["pid"])
    with pytest.raises(module.JobError) as caught:
        module.look(str(tmp_path), job["id"], 5)
    assert caught.value.code == "killed"
    assert unnamed(caught.value, job["pid"], f"{tmp_path}/log") == []


def test_command_that_outlives_its_supervisor_keeps_the_lock(module: Any, tmp_path: Path) -> None:
    job = module.start("x", ["sleep", "3"], None, str(tmp_path))
    time.sleep(0.3)
    os.kill(job["pid"], signal.SIGKILL)
    wait_gone(job["pid"])
    with pytest.raises(module.JobError) as caught:
        module.start("x", ["true"], None, str(tmp_path))
    assert caught.value.code == "busy"
    with pytest.raises(module.JobError) as caught:
        module.look(str(tmp_path), job["id"], 10)
    assert caught.value.code == "killed"


def test_what_a_killed_command_left_running_is_waited_for(module: Any, tmp_path: Path) -> None:
    argv = ["sh", "-c", f"test -e {tmp_path}/done || setsid sh -c 'sleep 1; touch {tmp_path}/done' & wait"]
    job = module.start("x", argv, None, str(tmp_path))
    time.sleep(0.3)
    os.killpg(job["pid"], signal.SIGKILL)
    wait_gone(job["pid"])
    assert module.locked(str(tmp_path))
    again = module.start("x", argv, None, str(tmp_path))
    assert (tmp_path / "done").exists()
    assert again["attached"] is False
    assert module.look(str(tmp_path), again["id"], 10)["rc"] == 0


def test_end_of_an_older_job_is_not_taken_for_the_new_one(module: Any, tmp_path: Path) -> None:
    old = module.start("x", ["true"], None, str(tmp_path))
    module.look(str(tmp_path), old["id"], 10)
    new = module.start("x", ["sleep", "1"], None, str(tmp_path))
    assert module.look(str(tmp_path), new["id"], 0)["finished"] is False
    with pytest.raises(module.JobError) as caught:
        module.look(str(tmp_path), old["id"], 0)
    assert caught.value.code == "replaced"
    assert module.look(str(tmp_path), new["id"], 10)["rc"] == 0


def run_ansible(arguments: dict[str, Any], *options: str) -> tuple[int, dict[str, Any], str]:
    """Run the task on localhost; return exit code, result and everything shown."""
    run = subprocess.run(
        [
            Path(sys.executable).with_name("ansible"), "localhost", "-c", "local",
            "-e", f"ansible_python_interpreter={sys.executable}",
            "-m", "ik_llama.pi.long_command", "-a", json.dumps(arguments), *options,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    begin = run.stdout.index("=> {") + 3
    return run.returncode, json.loads(run.stdout[begin : run.stdout.rindex("}") + 1]), run.stdout


def test_action_shows_progress_and_returns_the_end(tmp_path: Path) -> None:
    script = 'for n in 1 2 3 4; do echo "[$n/4] step"; sleep 1; done'
    code, result, shown = run_ansible(
        {"name": "four steps", "argv": ["sh", "-c", script], "directory": str(tmp_path), "poll": 1}
    )
    assert code == 0
    progress = [line for line in shown.splitlines() if not unnamed(line, "localhost", "four steps")]
    assert any(not unnamed(line, f"{step}/4") for line in progress for step in (1, 2, 3, 4))
    assert result["changed"] is True
    assert result["rc"] == 0
    assert result["attached"] is False
    assert result["seconds"] >= 4
    assert result["tail"][-1] == "[4/4] step"


def test_a_command_that_is_not_waited_for_is_attached_to_later(tmp_path: Path) -> None:
    arguments = {"name": "long", "argv": ["sleep", "8"], "directory": str(tmp_path)}
    code, result, _shown = run_ansible({**arguments, "wait": False})
    assert code == 0
    assert (result["changed"], result["attached"]) == (True, False)
    assert not (tmp_path / "exit.json").exists()
    code, result, _shown = run_ansible(arguments)
    assert code == 0
    assert (result["rc"], result["attached"]) == (0, True)


def test_action_fails_with_the_log(tmp_path: Path) -> None:
    code, result, _shown = run_ansible(
        {"name": "bad", "argv": ["sh", "-c", "echo no room; exit 9"], "directory": str(tmp_path)}
    )
    assert code != 0
    assert result["rc"] == 9
    assert unnamed(result["msg"], "bad", 9, "no room", "localhost", f"{tmp_path}/log") == []


def test_action_runs_nothing_in_check_mode(tmp_path: Path) -> None:
    code, result, _shown = run_ansible(
        {
            "name": "x",
            "argv": ["touch", str(tmp_path / "made")],
            "directory": str(tmp_path / "job"),
        },
        "--check",
    )
    assert code == 0
    assert result["changed"] is True
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "job").exists()


def test_low_priority_is_nice_and_the_first_to_be_killed(module: Any, tmp_path: Path) -> None:
    command = ["sh", "-c", "nice; cat /proc/self/oom_score_adj"]
    job = module.start("x", command, None, str(tmp_path), low_priority=True)
    assert module.look(str(tmp_path), job["id"], 10)["tail"] == ["19", "1000"]
    job = module.start("x", command, None, str(tmp_path))
    assert module.look(str(tmp_path), job["id"], 10)["tail"] != ["19", "1000"]
