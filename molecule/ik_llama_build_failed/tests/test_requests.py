"""Several hosts ask one build host: what they share is compiled once; one that is left out or away is named once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import changed, facts, refused, results, stats

SOURCE = Path(__file__).resolve().parents[2] / "shared/stand_in_engine"
ENGINE = "molecule/shared/engine.yml"
CHECK = "playbooks/preflight_engine.yml"
PARTS = 8  # source files of the stand-in that all its programs have

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the stand-in."""
    folder = tmp_path_factory.mktemp("stand_in")
    for name in ("CMakeLists.txt", "main.cpp"):
        shutil.copy(SOURCE / name, folder)
    for number in range(PARTS):
        (folder / f"part{number}.cpp").write_text((SOURCE / "part.cpp.in").read_text().replace("NUMBER", str(number)))
    git = ["git", "-C", str(folder), "-c", "user.name=stand-in", "-c", "user.email=stand-in@localhost"]
    for words in (["init", "-q", "-b", "main"], ["add", "--all"], ["commit", "-q", "--message=Works"]):
        subprocess.run([*git, *words], check=True)
    return folder


@pytest.fixture
def run(run_playbook: Any, repository: Path, tmp_path: Path) -> Run:
    """Run a playbook for the hosts a and b, with variables of each. Host a builds for both."""
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "engine_hosts": "pis",
        "ik_llama_build_repository": str(repository),
        "ik_llama_build_version": "main",
        "ik_llama_build_strategy": "builder",
        "ik_llama_build_builder": "a",
        "ik_llama_build_root": f"{tmp_path}/engine/{{{{ inventory_hostname }}}}",
        "ik_llama_build_builder_root": f"{tmp_path}/engine/a",
        "ik_llama_build_openblas": False,
        "ik_llama_build_ccache": False,
        "ik_llama_build_selftest": False,
        "ik_llama_build_jobs": 2,
    }

    def playbook(name: str, *arguments: str, **hosts: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        inventory = tmp_path / "inventory.json"
        members = {host: {**hosts.get(host, {})} for host in ("a", "b", *hosts)}
        inventory.write_text(json.dumps({"all": {"vars": shared, "children": {"pis": {"hosts": members}}}}))
        found: subprocess.CompletedProcess[str] = run_playbook(
            name, "-e", "engine_hosts=pis", *arguments, inventory=inventory
        )
        return found

    return playbook


def manifest(tmp_path: Path, host: str) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "engine" / host / "current/release.json").read_text()))


def test_two_programs_of_one_commit_share_their_objects(run: Run, tmp_path: Path) -> None:
    compiled = tmp_path / "compiled"
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\necho "$@" >>{compiled}\nexec "$@"\n')
    launcher.chmod(0o755)
    options = {"ik_llama_build_cmake_options": {"CMAKE_CXX_COMPILER_LAUNCHER": str(launcher)}}
    hosts = {
        "a": {**options, "ik_llama_build_targets": ["llama-server"]},
        "b": {**options, "ik_llama_build_targets": ["llama-quantize"]},
    }
    first = run(ENGINE, **hosts)
    assert first.returncode == 0, first.stdout
    assert sum("part" in line and " -c " in line for line in compiled.read_text().splitlines()) == PARTS
    assert list(manifest(tmp_path, "a")["binaries"]) == ["llama-server"]
    assert list(manifest(tmp_path, "b")["binaries"]) == ["llama-quantize"]
    assert not (tmp_path / "engine/a/build").exists()
    again = run(ENGINE, **hosts)
    assert (again.returncode, changed(again.stdout)) == (0, 0)


def test_releases_with_other_options_and_other_roots_share_their_objects(run: Run, tmp_path: Path) -> None:
    hosts = {
        "a": {"ik_llama_build_ccache": True},
        "b": {
            "ik_llama_build_ccache": True,
            "ik_llama_build_builder_root": f"{tmp_path}/engine/for_b",
            "ik_llama_build_cmake_options": {"CMAKE_EXE_LINKER_FLAGS": "-Wl,--build-id"},
        },
    }
    done = run(ENGINE, **hosts)
    assert done.returncode == 0, done.stdout
    ids = [manifest(tmp_path, host)["id"] for host in ("a", "b")]
    assert ids[0] != ids[1]
    environment = {**os.environ, "CCACHE_DIR": f"{tmp_path}/engine/a/ccache"}
    printed = subprocess.run(
        ["ccache", "--print-stats"], env=environment, check=True, capture_output=True, text=True
    ).stdout
    counts = {name: int(count) for name, count in (line.split("\t") for line in printed.splitlines())}
    assert counts["cache_miss"] == PARTS + 1
    assert counts["direct_cache_hit"] + counts["preprocessed_cache_hit"] == PARTS + 1


def test_what_two_hosts_want_is_built_once_and_a_limit_is_named_or_served(run: Run, tmp_path: Path) -> None:
    # Not built yet: the build host is missing in this run.
    missing = run(CHECK, "--limit", "b")
    assert missing.returncode == 2
    assert unnamed(refused(missing.stdout), "b", "a", "--limit b:a") == []
    checked = run(ENGINE, "--check")
    assert checked.returncode == 0, checked.stdout
    for host in ("a", "b"):
        plan = facts(checked.stdout, host)["ik_llama_install_plan"]
        assert (plan["waits_for_build"], plan["build_host"]) == (True, "a")
        assert [result for result in results(checked.stdout, "debug") if result.host == host and result.changed]
    assert not (tmp_path / "engine").exists()

    built = run(ENGINE, "--limit", "b:a")
    assert built.returncode == 0, built.stdout
    steps = [result for result in results(built.stdout, "long_command") if result.outcome == "ok"]
    assert len(steps) == 3  # downloaded, configured and compiled once
    assert manifest(tmp_path, "a")["binaries"] == manifest(tmp_path, "b")["binaries"]

    # It is there: another host takes it without the build host's play.
    assert run(CHECK, "--limit", "c", c={}).returncode == 0
    taken = run(ENGINE, "--limit", "c", c={})
    assert taken.returncode == 0, taken.stdout
    assert manifest(tmp_path, "c")["id"] == manifest(tmp_path, "a")["id"]


def test_a_build_host_that_is_away_is_named_once(run: Run) -> None:
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
    found = run(CHECK, "--limit", "b:c", a=away, c={})
    assert found.returncode == 2
    counts = stats(found.stdout)
    assert sum(count["failures"] for count in counts.values()) == 1
    assert sum(count["unreachable"] for count in counts.values()) == 0  # the hosts that asked were reached
    assert unnamed(refused(found.stdout), "a", "ik_llama_build_builder", "b", "c") == []
