#!/usr/bin/env python3
"""Compare the predicted memory of llama-server with what the kernel says of the real one, on the model's true shapes.

The server loads a file without weights (a hole reads as zeros, and locked it takes as much memory as weights would),
at each context once; it is measured when it is ready, and again when it has worked: more than a whole micro-batch of
prompt, and as many turns as it keeps checkpoints. Needs 14 GB of free memory; about five minutes for each context::

    tests/bench/full_shape.py /var/tmp/card.gguf --recipe roles/gguf_quantize/files/recipes/rpi5-16gb-card.yml
    tests/bench/resident.py LLAMA_SERVER /var/tmp/card.gguf 4096 16384 32768

Prints a table, and ends with 1 where a prediction is more than 3 % off.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "verify"))
import project_collection  # noqa: F401
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import at_start, footprint, hyperparameters
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import read_header

MIB = 1 << 20
URL = "http://127.0.0.1:18099"
OPTIONS: dict[str, Any] = {"parallel": 1, "ubatch": 512, "ctx_checkpoints": 4, "cache_ram_mib": 0}


def status(pid: int) -> dict[str, float]:
    """MiB by name, from /proc."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: int(kib) / 1024 for name, kib in re.findall(r"^(Vm\w+):\s+(\d+) kB", text, re.MULTILINE)}


def wait_until_ready(server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        time.sleep(1)
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}")
        try:
            urllib.request.urlopen(f"{URL}/health", timeout=5)
            return
        except OSError:
            pass
    raise SystemExit("the server does not get ready")


def complete(prompt: str) -> None:
    body = json.dumps({"prompt": prompt, "n_predict": 2, "temperature": 0, "cache_prompt": True}).encode()
    request = urllib.request.Request(f"{URL}/completion", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=1800).read()


def measure(program: str, model: str, context: int) -> tuple[dict[str, float], dict[str, float]]:
    """The server's memory when it is ready, and when it has worked."""
    argv = [
        str(Path(program).resolve()),
        "--model",
        str(Path(model).resolve()),
        "--ctx-size",
        str(context),
        "--parallel",
        "1",
        "--threads",
        "2",
        "--mlock",
    ]
    argv += ["--ubatch-size", "512", "--ctx-checkpoints", "4", "--cache-ram", "0", "--port", "18099"]
    # It writes a log file where it is started.
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    try:
        wait_until_ready(server)
        ready = status(server.pid)
        prompt = " ".join(str(number) for number in range(165))  # about a token for each letter in that vocabulary
        for turn in range(OPTIONS["ctx_checkpoints"]):
            complete(prompt)
            prompt += f" and then turn {turn} of the talk"
        return ready, status(server.pid)
    finally:
        server.terminate()
        try:
            server.wait(120)
        except subprocess.TimeoutExpired:
            server.kill()


def main(program: str, model: str, *contexts: str) -> int:
    with Path(model).open("rb") as file:
        header = read_header(file)
    plan = {"hparams": hyperparameters(header), "tensor_bytes": header.tensor_bytes}
    worst = 0.0
    print("context  locked MiB  weights   ready: predicted  measured    off   worked: predicted  measured    off")
    for context in map(int, contexts):
        parts = footprint(plan, context, **OPTIONS)
        ready, worked = measure(program, model, context)
        row = []
        for predicted, found in ((at_start(parts), ready), (parts["total"], worked)):
            off = predicted / MIB / found["VmRSS"] - 1
            worst = max(worst, abs(off))
            row.append(f"{predicted / MIB:>17.0f} {found['VmRSS']:>9.0f} {off:>+6.1%}")
        print(f"{context:>7} {ready['VmLck']:>11.0f} {parts['weights'] / MIB:>8.0f} {'  '.join(row)}", flush=True)
    return 1 if worst > 0.03 else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    raise SystemExit(main(*sys.argv[1:]))
