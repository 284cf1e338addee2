#!/usr/bin/env python3
"""Measure what reading a model's header over HTTP transfers, from a server on 127.0.0.1.

Prints the bytes that the reader counts, and those that the server sent::

    tests/bench/full_shape.py /somewhere/q8_0.gguf
    tests/bench/header_over_http.py /somewhere/q8_0.gguf
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "verify"))
import project_collection  # noqa: E402, F401

sys.path.insert(0, str(PROJECT / "tests/unit"))

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import open_source  # noqa: E402
from hub_server import TOKEN, Server  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    for manner in ("ranges", "moved", "gated", "broken", "plain"):
        server = Server(path.parent, broken=2_500_000)
        began = time.monotonic()
        try:
            source = open_source(f"{server.hub}/{manner}/{path.name}", TOKEN, server.hub)
            tensors = len(source.header.tensors)
            result = f"{tensors} tensors of a file of {source.size:,} bytes, {source.transferred:,} received"
        except OSError as error:
            result = str(error).replace(server.hub, "http://...")
        seconds = time.monotonic() - began
        sent = sum(entry["sent"] for entry in server.log)
        print(f"{manner}: {result}; {sent:,} sent in {len(server.log)} answers, {seconds:.1f} s")
        server.close()


if __name__ == "__main__":
    main()
