"""A clone has the same bytes on every system; IDs of releases and deployments are made from some of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not shutil.which("git") or not (PROJECT / ".git").exists(), reason="not a clone")
def test_git_for_windows_leaves_line_ends_as_they_are(tmp_path: Path) -> None:
    git = ["git", "-c", "core.autocrlf=true", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    shutil.copy(PROJECT / ".gitattributes", tmp_path)
    (tmp_path / "watchdog.py").write_bytes(b"#!/usr/bin/env python3\n")
    subprocess.run([*git, "add", "."], check=True)
    (tmp_path / "watchdog.py").unlink()
    subprocess.run([*git, "checkout", "-q", "--", "."], check=True)
    assert (tmp_path / "watchdog.py").read_bytes() == b"#!/usr/bin/env python3\n"
