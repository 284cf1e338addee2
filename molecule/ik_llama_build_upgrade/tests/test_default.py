"""One option makes another release; going back compiles nothing; what is in use is never removed."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

from naming import unnamed
from runs import changed, refused, results

ROOT = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "engine"
CONVERGE = "molecule/ik_llama_build_upgrade/converge.yml"
FIRST = ("-e", '{"upgrade_options": {}}')


def named_by(pointer: str) -> str:
    return os.path.basename(os.readlink(ROOT / pointer))


def processor_seconds() -> float:
    """What ended children used: other scenarios run at the same time, so the clock also tells of their load."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_option_made_another_release() -> None:
    second, first = (json.loads((ROOT / pointer / "release.json").read_text()) for pointer in ("current", "previous"))
    assert first["id"] != second["id"]
    assert second["options"].pop("CMAKE_EXE_LINKER_FLAGS") == "-Wl,--build-id"
    assert first["options"] == second["options"]


def test_the_old_option_switches_back_without_compiling(run_playbook: Any) -> None:
    first, second = named_by("previous"), named_by("current")
    before = processor_seconds()
    run = run_playbook(CONVERGE, *FIRST)
    took = processor_seconds() - before
    assert run.returncode == 0, run.stdout
    assert (named_by("current"), named_by("previous")) == (first, second)
    assert changed(run.stdout) == 1
    assert [result for result in results(run.stdout, "long_command") if result.outcome != "skipped"] == []
    assert 0 < took < 10


def test_what_does_not_go_into_the_release_makes_none(run_playbook: Any) -> None:
    run = run_playbook(
        CONVERGE, *FIRST, "-e", "ik_llama_build_jobs=1", "-e", "ik_llama_install_keep=2", "-e", "unrelated=1"
    )
    assert run.returncode == 0, run.stdout
    assert changed(run.stdout) == 0


def test_a_named_release_is_pointed_to(run_playbook: Any, tmp_path: Path) -> None:
    first, second = named_by("current"), named_by("previous")
    play = tmp_path / "rollback.yml"
    play.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.import_role: {name: ik_llama.pi.ik_llama_install, tasks_from: rollback}\n"
        f"      vars: {{ik_llama_build_root: {ROOT}}}\n"
    )
    assert run_playbook(str(play)).returncode == 0
    assert (named_by("current"), named_by("previous")) == (second, first)
    assert run_playbook(str(play), "-e", f"ik_llama_install_release={first}").returncode == 0
    assert (named_by("current"), named_by("previous")) == (first, second)
    run = run_playbook(str(play), "-e", "ik_llama_install_release=000000000000")
    assert run.returncode == 2
    assert unnamed(refused(run.stdout), "000000000000", ROOT) == []
    assert named_by("current") == first


def test_a_branch_is_the_same_release_as_its_commit(run_playbook: Any) -> None:
    run = run_playbook(CONVERGE, *FIRST, "-e", "ik_llama_build_version=main")
    assert run.returncode == 0, run.stdout
    assert changed(run.stdout) == 0
