"""A build that is killed goes on where it was, whichever step it was killed in; nothing half made is ever used."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from runs import JSONL, results

PROJECT = Path(__file__).resolve().parents[3]
ROOT = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "engine"
CONVERGE = "molecule/shared/stand_in_converge.yml"
JOB = ROOT / "build/job"
PARTS = 5  # source files of the stand-in


def job() -> dict[str, Any]:
    try:
        return dict(json.loads((JOB / "job.json").read_text()))
    except (OSError, ValueError):
        return {}


def steps() -> int:
    """How many compile steps ninja has noted as done; the build folder may go while a log is looked for."""
    done = 0
    with contextlib.suppress(FileNotFoundError):
        for log in ROOT.glob("build/*/tree/.ninja_log"):
            done += sum(".cpp.o" in line for line in log.read_text().splitlines())
    return done


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that has is there until its parent, here the first process, notices."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start(option: str, out: IO[str] | int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start a build under its own key, as somebody at a terminal does."""
    variables = json.dumps({"ik_llama_build_cmake_options": {option: 1}})
    return subprocess.Popen(
        ["ansible-playbook", "-i", "lab/inventory/containers.yml", CONVERGE, "-e", variables],
        cwd=PROJECT,
        env={**os.environ, **JSONL},
        stdout=out,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_in(program: str, option: str, reached: Callable[[], bool] = lambda: True, command: bool = True) -> int:
    """Start a build, and kill it when it runs this program and has reached that. Return the command's process."""
    began = time.time()
    run = start(option)

    def in_it() -> bool:
        return job().get("started", 0) > began and job()["argv"][0] == program and reached()

    return kill_when(run, in_it, command)


def kill_when(run: subprocess.Popen[str], reached: Callable[[], bool], command: bool = True) -> int:
    """Kill Ansible with all that it started, and as a power cut would the detached command too. Return its process."""
    deadline = time.monotonic() + 180  # other scenarios run at the same time
    try:
        while not reached():
            assert time.monotonic() < deadline, "the step was not reached"
            assert run.poll() is None, "the build ended before"
            time.sleep(0.005)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    pid = int(job().get("pid", 0))
    if command and pid:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    run.wait()
    return pid


def finish(option: str) -> tuple[str, int]:
    """Run the build to its end; return what it printed, and the compile steps that ninja had noted at the end."""
    most = 0
    with tempfile.TemporaryFile("w+") as out:
        run = start(option, out)
        try:
            while run.poll() is None:
                most = max(most, steps())
                time.sleep(0.005)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
        out.seek(0)
        text = out.read()
    assert run.returncode == 0, text
    assert json.loads((ROOT / "current/release.json").read_text())["options"][option] == "1"
    assert subprocess.run([ROOT / "current/bin/llama-server"], check=True, capture_output=True).stdout
    return text, most


def test_killed_while_the_source_is_fetched() -> None:
    before = os.readlink(ROOT / "current")
    shutil.rmtree(ROOT / "source.git")
    kill_in("git", "A")
    assert os.readlink(ROOT / "current") == before
    finish("A")


def test_killed_while_it_is_configured() -> None:
    before = os.readlink(ROOT / "current")
    kill_in("cmake", "B")
    assert os.readlink(ROOT / "current") == before
    finish("B")


def test_killed_while_it_compiles() -> None:
    before = os.readlink(ROOT / "current")
    kill_in("ninja", "C", lambda: steps() >= 3)
    assert os.readlink(ROOT / "current") == before
    done = steps()
    assert 3 <= done < PARTS
    # ninja notes a step each time it is done: none was done twice.
    assert finish("C")[1] == PARTS


def test_the_controller_goes_away_and_comes_back() -> None:
    pid = kill_in("ninja", "D", command=False)
    text, most = finish("D")
    assert [result for result in results(text, "long_command") if result.data.get("attached")], text
    assert most == PARTS
    assert not runs(pid)


def test_half_a_release_is_never_used() -> None:
    before = os.readlink(ROOT / "current")
    kill_when(start("E"), lambda: bool(list(ROOT.glob("releases/.*.new"))))
    assert os.readlink(ROOT / "current") == before
    finish("E")
    assert not list(ROOT.glob("releases/.*"))
