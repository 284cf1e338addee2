"""One option makes another release; going back compiles nothing; what is in use is never removed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from naming import unnamed
from runs import changed, refused, results

ROOT = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "engine"
CONVERGE = "molecule/ik_llama_build_upgrade/converge.yml"
FIRST = ("-e", '{"upgrade_options": {}}')


def key(pointer: str) -> str:
    return os.path.basename(os.readlink(ROOT / pointer))


def test_the_option_made_another_release() -> None:
    second, first = (json.loads((ROOT / pointer / "release.json").read_text()) for pointer in ("current", "previous"))
    assert first["key"] != second["key"]
    assert second["options"].pop("CMAKE_EXE_LINKER_FLAGS") == "-Wl,--build-id"
    assert first["options"] == second["options"]


def test_the_old_option_switches_back_without_compiling(run_playbook: Any) -> None:
    first, second = key("previous"), key("current")
    began = time.monotonic()
    run = run_playbook(CONVERGE, *FIRST)
    took = time.monotonic() - began
    assert run.returncode == 0, run.stdout
    assert (key("current"), key("previous")) == (first, second)
    assert changed(run.stdout) == 1
    assert [result for result in results(run.stdout, "long_command") if result.outcome != "skipped"] == []
    assert took < 10


def test_what_does_not_go_into_the_release_makes_none(run_playbook: Any) -> None:
    run = run_playbook(
        CONVERGE, *FIRST, "-e", "ik_llama_build_jobs=1", "-e", "ik_llama_build_keep=2", "-e", "unrelated=1"
    )
    assert run.returncode == 0, run.stdout
    assert changed(run.stdout) == 0


def test_a_named_release_is_pointed_to(run_playbook: Any, tmp_path: Path) -> None:
    first, second = key("current"), key("previous")
    play = tmp_path / "rollback.yml"
    play.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.import_role: {name: ik_llama_build, tasks_from: rollback}\n"
        f"      vars: {{ik_llama_build_root: {ROOT}}}\n"
    )
    assert run_playbook(str(play)).returncode == 0
    assert (key("current"), key("previous")) == (second, first)
    assert run_playbook(str(play), "-e", f"ik_llama_build_release={first}").returncode == 0
    assert (key("current"), key("previous")) == (first, second)
    run = run_playbook(str(play), "-e", "ik_llama_build_release=000000000000")
    assert run.returncode == 2
    assert unnamed(refused(run.stdout), "000000000000", ROOT) == []
    assert key("current") == first


def test_a_branch_is_the_same_release_as_its_commit(run_playbook: Any) -> None:
    run = run_playbook(CONVERGE, *FIRST, "-e", "ik_llama_build_version=main")
    assert run.returncode == 0, run.stdout
    assert changed(run.stdout) == 0
