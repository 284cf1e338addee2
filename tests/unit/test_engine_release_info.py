"""Whether a running job is a step of what is wanted, or something else."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

Look = Callable[..., list[dict[str, Any]]]
WANTED = {
    "version": "0" * 40,
    "repository": "https://example.org/engine.git",
    "targets": ["llama-server"],
    "cross": False,
    "native": True,
    "target_cpu": "cortex-a76",
    "lto": False,
    "openblas": False,
    "cmake_options": {},
    "ccache": False,
    "id": None,
    "pointer": "current",
}


@pytest.fixture
def look(plugin: Callable[[str, str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Run the module on this host, with these changes to what is wanted."""
    code = plugin("modules", "engine_release_info")

    def run(*changes: dict[str, Any]) -> list[dict[str, Any]]:
        module = MagicMock()
        module.params = {"wanted": [{**WANTED, "root": str(tmp_path), **change} for change in changes or ({},)]}
        module.run_command.return_value = (0, "c++ 12\n", "")
        module.exit_json.side_effect = SystemExit
        monkeypatch.setattr(code, "AnsibleModule", lambda **_: module)
        monkeypatch.setattr(code.shutil, "which", lambda name: f"/usr/bin/{name}")
        with pytest.raises(SystemExit):
            code.main()
        return list(module.exit_json.call_args.kwargs["releases"])

    return run


@contextmanager
def running(root: Path, *argv: str) -> Iterator[None]:
    """Hold the lock of a job, as a command that runs does."""
    folder = root / "build/job"
    folder.mkdir(parents=True, exist_ok=True)
    job = {"name": "engine of somebody", "argv": argv, "pid": os.getpid(), "started": 0}
    (folder / "job.json").write_text(json.dumps(job))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_a_host_that_installs_asks_by_the_id(look: Look, tmp_path: Path) -> None:
    (release,) = look({"version": None, "id": "0123456789ab"})
    assert (release["id"], release["state"], release["root"]) == ("0123456789ab", "absent", str(tmp_path))
    assert "commit" not in release


def test_releases_with_other_programs_have_the_same_objects(look: Look) -> None:
    one, two, three = look({}, {"targets": ["llama-quantize"]}, {"lto": True})
    assert one["objects"] == two["objects"] != three["objects"]
    assert len({one["id"], two["id"], three["id"]}) == 3


def test_a_compiler_at_these_programs_is_attached_to(look: Look, tmp_path: Path) -> None:
    objects = look()[0]["objects"]
    with running(tmp_path, "ninja", "-C", f"{tmp_path}/build/{objects}/tree", "-j", "2", "llama-server"):
        one, two = look({}, {"targets": ["llama-quantize"]})
        assert (one["state"], one["busy"]) == ("making", "")
        assert (two["state"], two["busy"]) == ("absent", "")
        # Of those who want other programs alone, none will attach to it.
        (other,) = look({"targets": ["llama-quantize"]})
        assert other["state"] == "absent"
        assert other["busy"]


def test_the_steps_before_are_no_obstacle(look: Look, tmp_path: Path) -> None:
    objects = look()[0]["objects"]
    for argv in (("cmake", "-B", f"{tmp_path}/build/{objects}/tree"), ("git", "-C", f"{tmp_path}/source.git", "fetch")):
        with running(tmp_path, *argv):
            (release,) = look()
            assert (release["state"], release["busy"]) == ("absent", "")


def test_any_other_job_keeps_the_root_busy_and_no_other(look: Look, tmp_path: Path) -> None:
    with running(tmp_path, "ninja", "-C", f"{tmp_path}/build/fedcba987654/tree", "-j", "2", "llama-server"):
        here, there = look({}, {"root": str(tmp_path / "other")})
        assert "engine of somebody" in here["busy"]
        assert str(os.getpid()) in here["busy"]
        assert there["busy"] == ""


def test_a_lock_without_a_job_is_somebody_s(look: Look, tmp_path: Path) -> None:
    with running(tmp_path, "x"):
        (tmp_path / "build/job/job.json").unlink()
        assert str(tmp_path) in look()[0]["busy"]
