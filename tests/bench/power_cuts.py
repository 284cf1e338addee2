#!/usr/bin/env python3
"""Cut a virtual Pi's power at random moments of site.yml and of an upgrade, and see what serves after it.

Each time the playbook runs, QEMU is killed at a moment drawn at random, the board boots, and what serves then is noted;
site.yml runs again, and must end well with the deployment serving that was wanted. A cut of site.yml begins with an
empty board; an upgrade is serve.yml with another number of threads, on a board that serves. Needs the lab's virtual Pi
(make lab-up VIRTUAL=1), which it empties; about three minutes for each cut::

    tests/bench/power_cuts.py            five cuts of each
    tests/bench/power_cuts.py 2 --seed 7

Prints a table, and ends with 1 where nothing serves after site.yml ran again, or an upgrade left nothing serving.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests/verify"))

from boards import Fleet, ask  # noqa: E402

INVENTORY = PROJECT / "lab/inventory/virtual.yml"
NAME = "pi-01"
LETTERS = "abcdefghijkl"
KINDS = ["upgrade", "site.yml"]


class Run:
    """A playbook in the background, whose tasks are followed."""

    def __init__(self, *arguments: str) -> None:
        self.begun = time.monotonic()
        self.tasks: list[tuple[float, str]] = []
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            ["ansible-playbook", "-i", str(INVENTORY), *arguments],
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "false"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.match(r"TASK \[(.*)\] \**$", line):
                self.tasks.append((self.seconds(), found[1]))

    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def until(self, moment: float) -> float:
        """Wait until so many seconds after its start, or its end where that is sooner. Returns when that was."""
        while self.seconds() < moment and self.process.poll() is None:
            time.sleep(0.05)
        return self.seconds()

    def task(self) -> str:
        """The task that runs, or that ran last."""
        return self.tasks[-1][1] if self.tasks else "none yet"

    def end(self) -> tuple[int, float]:
        """Wait for the end. Returns exit code and seconds."""
        code = self.process.wait()
        self.reader.join()
        return code, self.seconds()

    def abandon(self) -> None:
        """End it as a controller that is switched off does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        return "".join(self.lines)


class VirtualPi:
    """The lab's virtual Pi."""

    def __init__(self, key_file: str = "") -> None:
        self.key_file = key_file
        self.fleet = Fleet(INVENTORY)
        cache = Path(self.fleet.variable("localhost", "lab_host_cache"))
        self.folder = cache / "lab" / self.fleet.variable("localhost", "lab_host_instance") / "machines" / NAME

    def host(self) -> Any:
        return self.fleet.host(NAME)

    def cut(self) -> None:
        """Cut its power: QEMU dies, and with it all that the machine had not handed to its disk."""
        pid = int((self.folder / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)

    def boot(self) -> float:
        """Start it, and wait until it is up. Returns seconds."""
        run = Run("lab/playbooks/up.yml", "--tags", "boards")
        code, seconds = run.end()
        if code:
            raise SystemExit(f"the board does not boot:\n{run.said()}")
        return seconds

    def empty(self) -> None:
        """Replace it by one that has nothing yet."""
        Run("lab/playbooks/down.yml").end()
        self.boot()

    def serving(self) -> str:
        """Key of the deployment that answers as it should; 'nothing' where there is none yet, else what is wrong."""
        host = self.host()
        if not host.file("/var/lib/llama/current").exists:
            return "nothing"
        if not host.service("llama-server").is_enabled:
            return "nothing"
        try:
            answer = ask(host, 8080, key_file=self.key_file)
        except AssertionError as error:
            return f"no answer: {str(error)[:200]}"
        if answer != LETTERS:
            return f"wrong answer: {answer}"
        pid = host.check_output("systemctl show -P MainPID llama-server")
        return Path(host.check_output(f"readlink /proc/{pid}/cwd")).name

    def hollow(self) -> list[str]:
        """Files without content where the project keeps its own: none of them is written empty."""
        found = self.host().check_output(
            "find /opt/ik_llama /var/lib/llama /etc/systemd/system/llama-server.service -type f -empty 2>&1 || true"
        )
        return [line for line in found.splitlines() if "No such file" not in line]


def cut_once(board: VirtualPi, moment: float, *arguments: str) -> dict[str, Any]:
    """Run a playbook with these arguments, cut the power, boot, and run site.yml with the same options.

    Args:
        moment: seconds after the playbook's start; where it ends before, the cut comes after its end.
    """
    run = Run(*arguments)
    result: dict[str, Any] = {"moment": run.until(moment), "task": run.task()}
    board.cut()
    run.abandon()
    board.boot()
    result["before"] = board.serving()
    result["hollow"] = board.hollow()
    again = Run("site.yml", *arguments[1:])
    result["code"], result["seconds"] = again.end()
    result["said"] = again.said()
    result["after"] = board.serving()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cuts", type=int, nargs="?", default=5, help="of each kind")
    parser.add_argument("--of", choices=KINDS, action="append", help="kind; both if none is named")
    parser.add_argument("--length", type=float, help="seconds of site.yml on an empty board; measured if missing")
    parser.add_argument("--seed", type=int, default=random.randrange(10000))
    wanted = parser.parse_args()
    draw = random.Random(wanted.seed)
    kinds = wanted.of or KINDS
    board = VirtualPi()
    print(f"seed {wanted.seed}")
    whole = wanted.length
    if "upgrade" in kinds or whole is None:
        board.empty()
        code, whole = (first := Run("site.yml")).end()
        if code:
            raise SystemExit(first.said())
        print(f"site.yml on an empty board, not cut: {whole:.0f} s, deployment {board.serving()} serves")
    print("\n| cut of | moment, s | task | served after boot | empty files | site.yml again, s | serves then |")
    print("|---|---|---|---|---|---|---|")
    wrong = []
    for kind, number in ((kind, number) for kind in kinds for number in range(wanted.cuts)):
        if kind == "upgrade":
            options, length = ["playbooks/serve.yml", "-e", f"llama_server_threads={1 + number % 2}"], whole / 3
        else:
            options, length = ["site.yml"], whole
            board.empty()
        before = board.serving()
        cut = cut_once(board, draw.uniform(5.0, length), *options)
        good = cut["code"] == 0 and re.fullmatch("[0-9a-f]{12}", cut["after"])
        if not good or cut["before"] not in (before, cut["after"]):
            wrong.append(cut["said"])
        names = {before: "the old one", cut["after"]: "the new one", "nothing": "nothing yet"}
        words = [
            f"{cut['moment']:.0f}",
            cut["task"].split(" - ")[0],
            names.get(cut["before"], cut["before"]),
            ", ".join(cut["hollow"]) or "none",
            f"{cut['seconds']:.0f}",
            names.get(cut["after"], cut["after"]),
        ]
        print("|", " | ".join([kind, *words]), "|", flush=True)
    print(*wrong, sep="\n\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
