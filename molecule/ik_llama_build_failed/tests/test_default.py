"""Whatever goes wrong with a build, the message says what to do, and what was in use stays in use."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import changed, refused

ROOT = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "engine"
CONVERGE = "molecule/shared/stand_in_converge.yml"


@pytest.fixture(autouse=True)
def in_use() -> Iterator[str]:
    """The release in use; the same one, and whole, after every test."""
    before = os.readlink(ROOT / "current")
    yield before
    assert os.readlink(ROOT / "current") == before
    assert subprocess.run([ROOT / "current/bin/llama-server"], check=True, capture_output=True).stdout


def test_a_compile_error_is_quoted_with_the_place_of_the_log(run_playbook: Any) -> None:
    run = run_playbook(CONVERGE, "-e", "stand_in_version=broken")
    assert run.returncode == 2
    log = ROOT / "build/job/log"
    assert unnamed(refused(run.stdout), "no_such_thing", "localhost", log) == []
    assert "no_such_thing" in log.read_text()


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        (
            {"ik_llama_build_repository": "/nowhere/engine"},
            ("ik_llama_build_version", "main", "/nowhere/engine"),
        ),
        (
            {"ik_llama_build_repository": "https://127.0.0.1:9/engine.git"},
            ("ik_llama_build_version", "main", "https://127.0.0.1:9/engine.git"),
        ),
        (
            {"ik_llama_build_repository": "https://127.0.0.1:9/engine.git", "stand_in_version": "a" * 40},
            ("ik_llama_build_version", "a" * 40, "ik_llama_build_repository", "https://127.0.0.1:9/engine.git"),
        ),
        ({"stand_in_version": "f" * 40}, ("ik_llama_build_version", "f" * 40, "ik_llama_build_repository")),
        ({"stand_in_version": "no-such-branch"}, ("ik_llama_build_version", "no-such-branch")),
        ({"ik_llama_build_targets": ["llama-nonsense"]}, ("llama-nonsense",)),
        ({"ik_llama_build_targets": []}, ("ik_llama_build_targets",)),
        (
            {"ik_llama_build_builder": "nobody", "ik_llama_build_strategy": "cross"},
            ("ik_llama_build_builder", "nobody"),
        ),
    ],
)
def test_wrong_values_are_named(run_playbook: Any, variables: dict[str, Any], names: tuple[str, ...]) -> None:
    run = run_playbook(CONVERGE, "-e", json.dumps(variables))
    assert run.returncode == 2
    assert unnamed(refused(run.stdout), *names) == []


def test_a_disk_that_is_too_small_is_refused_with_both_numbers(run_playbook: Any, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", tmp_path], check=True)
    try:
        run = run_playbook(CONVERGE, "-e", json.dumps({"ik_llama_build_root": str(tmp_path / "engine")}))
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert run.returncode == 2
    names = ("localhost", 64, f"{tmp_path}/engine", 2500, "ik_llama_build_root")
    assert unnamed(refused(run.stdout), *names) == []


def test_a_host_without_compiler_and_apt_is_told_what_to_install(run_playbook: Any, tmp_path: Path) -> None:
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if program.name not in ("c++", "apt-get") and not (tmp_path / program.name).exists():
                (tmp_path / program.name).symlink_to(program)
    run = run_playbook(CONVERGE, "-e", "stand_in_version=broken", environment={"PATH": str(tmp_path)})
    assert run.returncode == 2
    assert unnamed(refused(run.stdout), "localhost", "c++") == []


def test_a_second_run_at_the_same_time_is_refused(run_playbook: Any) -> None:
    job = ROOT / "build/job"
    job.mkdir(parents=True, exist_ok=True)
    script = (
        "import fcntl, json, os, sys, time\n"
        "lock = open('lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "json.dump({'name': 'engine of somebody else', 'argv': ['ninja'], 'pid': os.getpid(), 'started': time.time()},"
        " open('job.json', 'w'))\n"
        "print('locked', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(["python3", "-c", script], cwd=job, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        run = run_playbook(CONVERGE, "-e", "stand_in_version=broken")
        other.kill()
    assert run.returncode == 2
    assert unnamed(refused(run.stdout), "localhost", ROOT, "engine of somebody else", other.pid) == []


def test_a_damaged_release_is_found_and_made_again(run_playbook: Any, in_use: str) -> None:
    program = ROOT / in_use / "bin/llama-server"
    whole = program.read_bytes()
    program.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same size
    began = time.time()
    run = run_playbook(CONVERGE)
    assert run.returncode == 0, run.stdout
    assert program.read_bytes()[:-1] == whole[:-1]
    assert program.stat().st_mtime > began
    assert changed(run_playbook(CONVERGE).stdout) == 0
