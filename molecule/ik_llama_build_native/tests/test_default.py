"""The real engine, compiled here for this very processor, answers right."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "engine"


@pytest.fixture(scope="module")
def release() -> dict[str, Any]:
    return dict(json.loads((ROOT / "current/release.json").read_text()))


def test_the_manifest_says_what_it_is(fleet: Any, release: dict[str, Any]) -> None:
    assert release["commit"] == fleet.variable("localhost", "lab_host_engine_commit")
    assert release["committed"].startswith("2026-04-15")
    assert release["strategy"] == "native"
    assert release["target_cpu"].startswith("native ")
    assert release["architecture"] == platform.machine()
    assert release["options"]["GGML_BLAS"] == "ON"
    assert release["compiler"]
    assert release["seconds"] > 0
    assert release["cpu_seconds"] > 0
    program = release["binaries"]["llama-server"]
    assert program["size"] == (ROOT / "current/bin/llama-server").stat().st_size
    assert any(name.startswith("libopenblas") for name in release["features"]["libraries"])


def test_it_was_tested_here(release: dict[str, Any]) -> None:
    tested = release["self_test"]
    assert tested["golden"]["ok"]
    assert tested["golden"]["answer"] == tested["golden"]["expected"]
    assert {"q8_0", "q6_K", "iq2_ks"} <= set(tested["types"])
    assert all(found["ok"] and 0 <= found["error"] < tested["limit"] for found in tested["types"].values())


def test_every_feature_it_uses_is_one_that_this_processor_has(release: dict[str, Any]) -> None:
    flags = next(
        line.split(":", 1)[1].split()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("flags", "Features"))
    )
    assert release["features"]["cpu"]
    for needed in release["features"]["cpu"]:
        assert set(needed.split("|")) & set(flags), needed


def test_the_server_recites_the_alphabet(fleet: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = fleet.variable("localhost", "gguf_quantize_source")
    argv = [ROOT / "current/bin/llama-server", "--model", model, "--port", str(port), "--ctx-size", "512", "--jinja"]
    body = {"messages": [{"role": "user", "content": "What comes after g?"}], "max_tokens": 12, "temperature": 0}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                    break
                except OSError:
                    time.sleep(0.25)
            answer = json.load(urllib.request.urlopen(request, timeout=60))
        finally:
            server.kill()
    assert answer["choices"][0]["message"]["content"].strip() == "abcdefghijkl"
