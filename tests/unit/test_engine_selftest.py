"""Whatever a server does, the self-test says it and leaves no process behind. (These servers only misbehave.)"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.engine.selftest import (
    GOLDEN_ANSWER,
    GOLDEN_PROMPT,
    SelfTestError,
)
from naming import unnamed

Plugin = Callable[[str, str], ModuleType]

ANSWERS = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self):
        if self.path != "/health": {act}
        data = b'{{"content": "abc"}}'
        self.send_response(200); self.send_header("Content-Length", str(len(data))); self.end_headers()
        self.wfile.write(data)
    do_GET = do_POST = reply
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def program(folder: Path, body: str) -> Path:
    """A script that notes its process and then does ``body``."""
    path = folder / "llama-server"
    path.write_text(f"#!/bin/sh\necho $$ > {folder}/pid\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def python(folder: Path, act: str) -> Path:
    (folder / "server.py").write_text(ANSWERS.format(act=act), encoding="utf-8")
    return program(folder, f'exec {sys.executable} {folder}/server.py "$@"')


def golden(plugin: Plugin, path: Path, seconds: float) -> SelfTestError:
    """The complaint."""
    with pytest.raises(SelfTestError) as caught:
        plugin("modules", "engine_selftest").golden(path, path.parent, time.monotonic() + seconds)
    return caught.value


def gone(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_last_words_of_a_server_that_ends(plugin: Plugin, tmp_path: Path) -> None:
    said = golden(plugin, program(tmp_path, "echo loading; echo error: unknown architecture >&2; exit 3"), 20)
    assert said.code == "ended"
    assert unnamed(said, "llama-server", 3) == []
    assert str(said).endswith("loading\nerror: unknown architecture")
    assert gone(tmp_path)


def test_a_signal_has_its_name(plugin: Plugin, tmp_path: Path) -> None:
    said = golden(plugin, program(tmp_path, "kill -ILL $$"), 20)
    assert said.code == "ended"
    assert unnamed(said, 4, "SIGILL") == []


def test_a_server_that_hangs_is_ended(plugin: Plugin, tmp_path: Path) -> None:
    begun = time.monotonic()
    assert golden(plugin, program(tmp_path, "exec sleep 60"), 1).code == "timeout"
    assert time.monotonic() - begun < 10
    assert gone(tmp_path)


def test_a_server_that_hangs_when_asked_is_ended(plugin: Plugin, tmp_path: Path) -> None:
    assert golden(plugin, python(tmp_path, "import time; time.sleep(60)"), 3).code == "timeout"
    assert gone(tmp_path)


def test_a_server_that_dies_when_asked(plugin: Plugin, tmp_path: Path) -> None:
    said = golden(plugin, python(tmp_path, 'print("no memory", flush=True); import os; os._exit(1)'), 20)
    assert said.code == "ended"
    assert unnamed(said, 1, "no memory") == []


def test_another_answer_is_a_failure(plugin: Plugin, tmp_path: Path) -> None:
    said = golden(plugin, python(tmp_path, "pass"), 20)
    assert said.code == "golden"
    assert unnamed(said, GOLDEN_PROMPT, "abc", GOLDEN_ANSWER) == []
    assert gone(tmp_path)


def test_the_server_ends_with_the_module(plugin: Plugin, tmp_path: Path) -> None:
    module = plugin("modules", "engine_selftest")
    before = signal.signal(signal.SIGALRM, module.stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(SystemExit):
            module.golden(program(tmp_path, "exec sleep 60"), tmp_path, time.monotonic() + 20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone(tmp_path)
