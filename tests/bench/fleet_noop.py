#!/usr/bin/env python3
"""Measure a run of site.yml that has nothing to do, on one board and on eight: seconds, and tasks for each board,
skipped ones too.

Starts eight containers of this machine's own kind (lab/inventory/fleet.py), runs site.yml until nothing changes, then
measures each of both several times, in turn, and takes the fastest::

    tests/bench/fleet_noop.py --rounds 3
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BOARDS = 8
RECAP = re.compile(r"^(pi-\d+) +: ok=(\d+) +changed=(\d+) +unreachable=\d+ +failed=\d+ +skipped=(\d+) ", re.M)


def playbook(*arguments: str) -> tuple[float, str]:
    """Seconds and output of ansible-playbook on the fleet; it must succeed."""
    begun = time.monotonic()
    run = subprocess.run(
        ["ansible-playbook", "-i", "lab/inventory/fleet.py", *arguments],
        cwd=PROJECT,
        env={**os.environ, "LAB_BOARDS": str(BOARDS), "ANSIBLE_FORCE_COLOR": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SystemExit(run.stdout[-4000:] + run.stderr[-2000:])
    return time.monotonic() - begun, run.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    playbook("lab/playbooks/up.yml")
    playbook("site.yml")
    seconds: dict[int, list[float]] = {1: [], BOARDS: []}
    tasks: set[int] = set()
    for _ in range(rounds):
        for boards, limit in ((1, "pi-01,localhost"), (BOARDS, "all")):
            taken, output = playbook("site.yml", "--limit", limit)
            recap = RECAP.findall(output)
            if len(recap) != boards or any(changed != "0" for _, _, changed, _ in recap):
                raise SystemExit(f"{boards} boards: something changed\n{output[-2000:]}")
            seconds[boards].append(taken)
            tasks |= {int(ok) + int(skipped) for _, ok, _, skipped in recap}
    for boards, taken_all in seconds.items():
        print(f"{boards} boards: {min(taken_all):.1f} s ({', '.join(f'{taken:.1f}' for taken in taken_all)})")
    print(f"ratio {min(seconds[BOARDS]) / min(seconds[1]):.2f}, tasks for each board {sorted(tasks)}")


if __name__ == "__main__":
    main()
