"""The last test of the scenario, by the name of its file: all models go."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from runs import JSONL, results

PROJECT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "models/alphabet"


def test_remove_leaves_nothing_but_the_files_of_the_user() -> None:
    root = FOLDER.parent
    (root / "alphabet/mine.gguf").write_text("mine")
    size = sum(path.stat().st_size for path in FOLDER.glob("*.gguf"))
    for check in (["--check"], []):
        command = ["ansible-playbook", f"--inventory={PROJECT}/lab/inventory/containers.yml", *check]
        shown = subprocess.run(
            [*command, str(PROJECT / "molecule/gguf_quantize/remove.yml")],
            cwd=PROJECT, env={**os.environ, **JSONL}, capture_output=True, text=True, timeout=300, check=True,
        ).stdout  # fmt: skip
        (removed,) = results(shown, "gguf_store")
        assert removed.changed
        assert removed.data["freed_bytes"] >= size
        assert removed.data["kept"] == ["alphabet/mine.gguf"]
        assert (root / ".stamps").exists() is bool(check)
    assert [path.name for path in root.rglob("*")] == ["alphabet", "mine.gguf"]
