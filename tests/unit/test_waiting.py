"""A server that asks to wait is waited for where the user sees it, by the function and by a real Ansible run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils import waiting
from gguf_files import QWEN35_METADATA, header_bytes, qwen35_tensors
from hub_server import Server
from naming import unnamed

ROOT = Path(__file__).resolve().parents[2]
NOON = time.mktime((2026, 11, 26, 12, 0, 0, 0, 0, -1))


class Waits:
    """A module whose runs give ``results``, and what was shown and waited."""

    def __init__(self, *results: dict[str, Any]) -> None:
        self.results = list(results)
        self.lines: list[str] = []
        self.slept: list[float] = []

    def run(self) -> dict[str, Any]:
        return waiting.run_and_wait(lambda: self.results.pop(0), self.lines.append, self.slept.append, lambda: NOON)


def busy(seconds: int) -> dict[str, Any]:
    return {"failed": True, "msg": "busy", "server": "hub.test", "retry_after": seconds}


def test_nothing_is_shown_where_nobody_asks() -> None:
    for result in ({"changed": False}, {"failed": True, "msg": "wrong"}):
        waits = Waits(result)
        assert (waits.run(), waits.lines, waits.slept) == (result, [], [])


def test_each_wait_is_shown_before_it_begins() -> None:
    waits = Waits(busy(90), busy(600), {"changed": True})
    assert waits.run() == {"changed": True}
    assert waits.slept == [90, 600]
    assert [unnamed(line, "hub.test", seconds, at) for line, seconds, at in zip(
        waits.lines, (90, 600), ("12:01", "12:10"), strict=True
    )] == [[], []]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "waited"), [((waiting.PATIENCE + 1,), []), ((waiting.PATIENCE, 6), [waiting.PATIENCE])]
)
def test_patience_ends(asked: tuple[int, ...], waited: list[int]) -> None:
    waits = Waits(*map(busy, asked))
    assert waits.run() == busy(asked[-1])
    assert waits.slept == waited


def run_ansible(module: str, arguments: dict[str, Any]) -> tuple[int, str, float]:
    """Run the module on localhost; return exit code, all that was shown, and seconds."""
    begun = time.monotonic()
    run = subprocess.run(
        [
            Path(sys.executable).with_name("ansible"), "localhost", "-c", "local",
            "-e", f"ansible_python_interpreter={sys.executable}",
            "-m", f"ik_llama.pi.{module}", "-a", json.dumps(arguments), "--check",
        ],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )  # fmt: skip
    return run.returncode, run.stdout, time.monotonic() - begun


def test_every_module_that_may_find_a_busy_server_waits(plugin: Any) -> None:
    modules = [path.stem for path in (ROOT / "plugins/modules").glob("*.py") if "ServerBusy" in path.read_text()]
    assert {"gguf_source", "gguf_model_info"} < set(modules)
    for module in modules:
        assert issubclass(plugin("action", module).ActionModule, waiting.WaitingAction)


@pytest.mark.parametrize("module", ["gguf_source", "gguf_model_info"])
def test_the_wait_is_seen(module: str, tmp_path: Path) -> None:
    model = tmp_path / "served/m.gguf"
    model.parent.mkdir()
    model.write_bytes(header_bytes(QWEN35_METADATA, qwen35_tensors()))
    os.truncate(model, model.stat().st_size + 36_892_150_272)
    server = Server(model.parent)
    server.busy, server.retry_after = 1, "6"
    source = f"{server.hub}/busy/m.gguf"
    arguments: dict[str, Any] = {"location": source, "sha256": ["1" * 64], "root": str(tmp_path), "state": "prepared"}
    if module == "gguf_model_info":
        recipe = {
            "title": "t", "origin": "o", "architecture": "qwen35moe", "base": "Q8_0", "requires_imatrix": False,
            "allow_requantize": True, "token_embedding": {"type": "q8_0"}, "output": {"type": "q8_0"},
        }  # fmt: skip
        arguments = {
            "root": str(tmp_path), "name": "m", "recipe_name": "r", "recipe": recipe, "engine_root": str(tmp_path),
            "source": source, "source_sha256": ["1" * 64],
        }  # fmt: skip
    try:
        _code, shown, seconds = run_ansible(module, arguments)
    finally:
        server.close()
    assert server.busy == 0
    assert seconds >= 6
    lines = [line for line in shown.splitlines() if not unnamed(line, "localhost", "127.0.0.1", 6)]
    assert any(re.search(r"\b\d\d:\d\d\b", line) for line in lines)
    assert "retry_after" not in shown
