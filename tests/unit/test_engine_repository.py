"""A folder of engine source becomes a repository of one commit, the same wherever it is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import project_collection
import pytest

DATE = "2026-04-15T00:00:00+0000"
RUN = (
    "import sys, ansible.module_utils.basic as basic\n"
    "from ansible.plugins.loader import init_plugin_loader\n"
    "init_plugin_loader([sys.argv.pop(1)])\n"
    "from ansible.module_utils.testing import patch_module_args\n"
    "import json\n"
    "from ansible_collections.ik_llama.lab.plugins.modules import engine_repository\n"
    "with patch_module_args(json.loads(sys.argv.pop(1))): engine_repository.main()\n"
)


def run(source: Path, repository: Path, **arguments: Any) -> dict[str, Any]:
    """Run the module; return its result."""
    shown = json.dumps({"source": str(source), "repository": str(repository), **arguments})
    links = str(project_collection.PROJECT / ".collections")
    done = subprocess.run([sys.executable, "-c", RUN, links, shown], capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def git(folder: Path, *words: str, **environment: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "safe.directory=*"]
    done = subprocess.run(
        ["git", *who, "-C", folder, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text("project(x)\n")
    (folder / "sub/tool.sh").write_text("true\n")
    (folder / "sub/tool.sh").chmod(0o755)
    (folder / ".gitignore").write_text("*.out\n")
    (folder / "sub/kept.out").write_text("x\n")
    return folder


def test_a_folder_without_git_is_taken_whole(source: Path, tmp_path: Path) -> None:
    made = run(source, tmp_path / "a", date=DATE)
    assert made["changed"]
    assert git(tmp_path / "a", "rev-parse", "main") == made["commit"]
    assert git(tmp_path / "a", "rev-list", "--count", "main") == "1"
    assert git(tmp_path / "a", "log", "-1", "--format=%cI", "main") == "2026-04-15T00:00:00+00:00"
    listed = git(tmp_path / "a", "ls-tree", "-r", "--name-only", "main").splitlines()
    assert listed == [".gitignore", "CMakeLists.txt", "sub/kept.out", "sub/tool.sh"]
    assert not (source / ".git").exists()


def test_equal_files_make_the_equal_commit_and_no_change(source: Path, tmp_path: Path) -> None:
    first = run(source, tmp_path / "a", date=DATE)
    again = run(source, tmp_path / "a", date=DATE)
    elsewhere = run(source, tmp_path / "b", date=DATE)
    assert (again["changed"], again["commit"], elsewhere["commit"]) == (False, first["commit"], first["commit"])
    (source / "CMakeLists.txt").write_text("project(y)\n")
    other = run(source, tmp_path / "a", date=DATE)
    assert other["changed"]
    assert git(tmp_path / "a", "rev-list", "--count", "main") == "1"


def test_check_mode_leaves_the_repository(source: Path, tmp_path: Path) -> None:
    shown = run(source, tmp_path / "a", date=DATE, _ansible_check_mode=True)
    assert shown["changed"]
    assert not (tmp_path / "a").exists()
    assert run(source, tmp_path / "a", date=DATE)["commit"] == shown["commit"]


def test_a_working_copy_gives_the_date_and_leaves_ignored_files_out(source: Path, tmp_path: Path) -> None:
    git(source, "init", "--quiet")
    git(source, "add", "--force", "CMakeLists.txt", "sub/kept.out")
    git(source, "commit", "--quiet", "--message=upstream", GIT_COMMITTER_DATE="2026-05-01T10:00:00+0200")
    (source / "CMakeLists.txt").unlink()
    (source / "built.out").write_text("x\n")
    made = run(source, tmp_path / "a")
    assert git(tmp_path / "a", "log", "-1", "--format=%cI", "main") == "2026-05-01T10:00:00+02:00"
    listed = git(tmp_path / "a", "ls-tree", "-r", "--name-only", "main").splitlines()
    assert listed == [".gitignore", "sub/kept.out", "sub/tool.sh"]
    assert made["commit"] != git(source, "rev-parse", "HEAD")


@pytest.mark.parametrize("folder", ["source", "nowhere"])
def test_a_folder_without_date_and_one_that_is_missing_are_refused(folder: str, source: Path, tmp_path: Path) -> None:
    shown = run(tmp_path / folder, tmp_path / "a")
    assert shown["failed"]
    assert not (tmp_path / "a" / "refs/heads/main").exists()
