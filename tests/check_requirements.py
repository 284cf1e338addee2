#!/usr/bin/env python3
"""Check that the requirements files resolve, from wheels alone, on every controller that the project supports.

Asks the package index that uv is configured for, so it is run by hand: ``make check-requirements``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FILES = ("requirements.txt", "requirements-report.txt", "requirements-dev.txt")
#: A wheel for manylinux_2_28 runs on Debian 12 and newer; uv's macOS is the oldest that Apple still supports.
PLATFORMS = {
    "Linux x86_64": "x86_64-manylinux_2_28",
    "Linux ARM64": "aarch64-manylinux_2_28",
    "Apple Silicon": "aarch64-apple-darwin",
    "Intel Mac": "x86_64-apple-darwin",
}
#: What ansible-core 2.19 runs on.
PYTHONS = ("3.11", "3.12", "3.13")


def resolve(file: str, platform: str, python: str) -> str:
    """Return what is wrong with `file` on a platform, in uv's words, or nothing."""
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--only-binary=:all:"]
    command += [f"--python-platform={platform}", f"--python-version={python}", file]
    done = subprocess.run(
        command, check=False, cwd=PROJECT, env={**os.environ, "NO_COLOR": "1"}, text=True, capture_output=True
    )
    return done.stderr.strip() if done.returncode else ""


def main() -> int:
    """Print a line for each file, platform and Python; return 1 if one of them does not resolve."""
    failed = False
    for file in FILES:
        for name, platform in PLATFORMS.items():
            for python in PYTHONS:
                problem = resolve(file, platform, python)
                failed = failed or bool(problem)
                print(f"{'failed' if problem else 'ok':<7}{file:<21}{name:<14}Python {python}", flush=True)
                if problem:
                    print(problem)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
