#!/usr/bin/env python3
"""Run playbooks/inspect.yml on files of a hub, and print what it says, the bytes that the hub sent, and the seconds.

The hub is that of the tests (tests/unit/hub_server.py), on this machine::

    mkdir /var/tmp/full
    for name in card table fast fine; do
        tests/bench/full_shape.py /var/tmp/full/$name.gguf \\
            --recipe roles/gguf_quantize/files/recipes/rpi5-16gb-$name.yml
    done
    tests/bench/full_shape.py /var/tmp/full/q4_k_m.gguf --file-type Q4_K_M
    tests/bench/inspect_over_http.py /var/tmp/full --claim rpi5-16gb-table
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests/unit"))

from hub_server import Server  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--claim", default="", help="the recipe that the files are said to follow")
    asked = parser.parse_args()
    server = Server(asked.folder)
    print("| file | bytes | sent by the hub | requests | seconds | follows | tensors that depart from the claim |")
    print("|---|---:|---:|---:|---:|---|---:|")
    for path in server.files():
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            before, began = len(server.log), time.monotonic()
            subprocess.run(
                [
                    *("ansible-playbook", "-i", "localhost,", f"{PROJECT}/playbooks/inspect.yml"),
                    *("-e", f"file=hf://owner/model@main/{path.name}", "-e", f"gguf_inspect_hub={server.hub}"),
                    *(
                        "-e",
                        f"claim={asked.claim}",
                        "-e",
                        f"inspect_file={report.name}",
                        "-e",
                        "ansible_connection=local",
                    ),
                    *("-e", f"ansible_python_interpreter={sys.executable}"),
                ],
                check=True,
                capture_output=True,
                cwd=PROJECT,
            )
            seconds = time.monotonic() - began
            said = json.loads(Path(report.name).read_text(encoding="utf-8"))
        seen = server.log[before:]
        sent = sum(entry["sent"] for entry in seen)
        print(
            f"| {path.name} | {said['bytes']:,} | {sent:,} | {len(seen)} | {seconds:.1f} |"
            f" {', '.join(said['follows']) or '-'} | {said['claimed'].get('differ', '-')} |"
        )
    server.close()


if __name__ == "__main__":
    main()
