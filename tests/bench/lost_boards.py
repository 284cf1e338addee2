#!/usr/bin/env python3
"""Cut one of five boards off in each task of its turn, and see what becomes of it, of its mate and of the others.

A rollout in batches of two changes options and API key (serve.yml). The third board is cut off in one task of its turn:
its network is taken away, its power, or its sshd. Then it is made to come back, and site.yml runs to its end; the next
time rollback.yml runs first. Starts five containers of this machine's own kind (lab/inventory/fleet.py); about two
minutes for each cut::

    tests/bench/lost_boards.py                                   all cuts, in all tasks
    tests/bench/lost_boards.py --by power --task "Start the service"

Prints a table, and ends with 1 where a board's fate is not the expected one: the first batch and the mate have changed
and are verified, the last board is as before, and after site.yml all are verified and serve the same.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests/verify"))

BOARDS = ("pi-01", "pi-02", "pi-03", "pi-04", "pi-05")
LOST, MATE, LATER = "pi-03", "pi-04", "pi-05"
#: The inventory reads them, also for the connections of testinfra.
os.environ.update(LAB_FLEET="lost", LAB_FLEET_PORT="2600", LAB_BOARDS=str(len(BOARDS)))

from boards import Fleet, ask  # noqa: E402

INVENTORY = PROJECT / "lab/inventory/fleet.py"
#: Of roles/llama_server/tasks/activate.yml and keys.yml, in their order; the others do nothing on the board.
TASKS = (
    "Copy the present API keys",
    "Set the API keys",
    "Set the pointer to the deployment",
    "Start the service",
    "Wait for the server and test its answer",
    "Remove the previous API keys",
    "Mark the deployment as verified",
)
#: A run waits for a lost board this long, and no connection of an earlier run is used.
CONNECTION = {
    "ansible_ssh_args": "-o ControlPath=none -o ServerAliveInterval=2 -o ServerAliveCountMax=2",
    "ansible_timeout": 5,
}
KEY_FILE = "/etc/llama-server/api-keys"
LETTERS = "abcdefghijkl"


class Boards:
    """The lab's boards as containers."""

    def __init__(self) -> None:
        self.fleet = Fleet(INVENTORY)
        self.cache = Path(self.fleet.variable("localhost", "lab_host_cache")) / "podman"

    def podman(self, *words: str) -> str:
        environment = {
            **os.environ,
            "CONTAINERS_CONF": str(self.cache / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.cache / "storage.conf"),
        }
        return subprocess.run(
            ["podman", *words], env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def network(self, state: str) -> None:
        pid = self.podman("inspect", "--format={{.State.Pid}}", f"lost-{LOST}")
        subprocess.run(["nsenter", "-t", pid, "-n", "ip", "link", "set", "eth0", state], check=True)

    def cut(self, by: str) -> None:
        if by == "power":
            self.podman("kill", f"lost-{LOST}")
        elif by == "network":
            self.network("down")
        else:
            stop = "systemctl stop ssh.socket ssh; pkill -KILL sshd; true"  # sessions live on after the service
            self.podman("exec", f"lost-{LOST}", "sh", "-c", stop)

    def come_back(self, by: str) -> None:
        if by == "power":
            self.podman("start", f"lost-{LOST}")
        elif by == "network":
            self.network("up")
        else:
            self.podman("exec", f"lost-{LOST}", "systemctl", "start", "ssh")
        deadline = time.monotonic() + 120
        while True:
            try:
                self.fleet = Fleet(INVENTORY)
                self.fleet.host(LOST).check_output("systemctl is-active llama-server")
                return
            except Exception as error:  # sshd is not there yet, or the service is still starting
                if time.monotonic() > deadline:
                    raise SystemExit(f"{LOST} does not come back: {error}") from error
                time.sleep(1)

    def state(self, name: str) -> tuple[str, str, str]:
        """Return the deployment that answers as it should (or what is wrong), the verified one, and the API key."""
        host = self.fleet.host(name)
        try:
            answer = ask(host, 8080, key_file=KEY_FILE)
        except AssertionError as error:
            answer = f"no answer: {str(error)[:100]}"
        pid = host.check_output("systemctl show -P MainPID llama-server")
        serving = Path(host.check_output(f"readlink /proc/{pid}/cwd")).name if answer == LETTERS else answer
        verified = Path(host.check_output("readlink /var/lib/llama/verified")).name
        return serving, verified, str(host.check_output(f"cat {KEY_FILE}"))


def change(number: int) -> list[str]:
    """Return the arguments of a rollout: each has another number of threads than the one before, and another key."""
    options: dict[str, Any] = {
        "llama_server_threads": 1 + number % 2,
        "llama_server_api_keys": [f"key-of-the-rollout-{number}"],
        "fleet_serial": 2,
        **CONNECTION,
    }
    return ["-e", json.dumps(options)]


def run(*arguments: str) -> tuple[int, str]:
    """Run a playbook; return its exit code and its output."""
    done = subprocess.run(
        ["ansible-playbook", "-i", str(INVENTORY), *arguments],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def run_and_cut(boards: Boards, task: str, by: str, *arguments: str) -> tuple[int, str]:
    """Run a playbook, and cut the board off when that task of the second batch begins."""
    # The line of a task is printed when it begins, not with its first result.
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}
    process = subprocess.Popen(
        ["ansible-playbook", "-i", str(INVENTORY), *arguments],
        cwd=PROJECT,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines, batches, cut = [], 0, None
    assert process.stdout
    for line in process.stdout:
        lines.append(line)
        found = re.match(r"TASK \[(?:.* : )?(.*?)\] \**$", line)
        if not found:
            continue
        batches += found[1].startswith("Mark the rollout as started")
        if cut is None and batches == 2 and found[1] == task:
            cut = threading.Thread(target=boards.cut, args=(by,))
            cut.start()
    code = process.wait()
    if cut is None:
        raise SystemExit(f"{task}: never began\n{''.join(lines)}")
    cut.join()
    return code, "".join(lines)


def summary(output: str) -> list[str]:
    """Return the lines of the report of a run that begin with boards' names."""
    found = re.findall(r"^\s*(?:- |\"|msg: \|?-?)?\s*((?:pi-0\d(?:, )?)+: [^\n]*)", output, re.M)
    return list(dict.fromkeys(line.strip().rstrip('",') for line in found))


def fate(state: tuple[str, str, str], before: tuple[str, str, str], wanted: tuple[str, str, str]) -> str:
    serving, verified, key = state
    names = {before[0]: "old", wanted[0]: "new"}
    words = [names.get(serving, serving)]
    if verified != serving:
        words.append(f"verified: {names.get(verified, verified)}")
    if (key == before[2]) != (serving == before[0]):
        words.append(f"key: {'old' if key == before[2] else 'new' if key == wanted[2] else 'other'}")
    return ", ".join(words)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--by", choices=("network", "power", "sshd"), action="append")
    parser.add_argument("--task", choices=TASKS, action="append")
    parser.add_argument("--log", type=Path, help="a folder for the outputs of the runs")
    chosen = parser.parse_args()
    boards, number = Boards(), 0
    for words in (["lab/playbooks/up.yml"], ["site.yml", *change(0)]):
        code, output = run(*words)
        if code:
            raise SystemExit(output)
    print("| cut | task | run | it, afterwards | mate | first batch | last board | summary | then |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    wrong = []
    for task in chosen.task or TASKS:
        for by in chosen.by or ("network", "power", "sshd"):
            number += 1
            before = {name: boards.state(name) for name in BOARDS}
            code, output = run_and_cut(boards, task, by, "playbooks/serve.yml", *change(number))
            boards.come_back(by)
            after = {name: boards.state(name) for name in BOARDS}
            wanted = after["pi-01"]
            fates = {name: fate(after[name], before[name], wanted) for name in BOARDS}
            good = code != 0 and [fates[name] for name in BOARDS if name != LOST] == ["new", "new", "new", "old"]
            then = []
            if number % 2 == 0:
                back, said = run("playbooks/rollback.yml", "-e", json.dumps({"fleet_serial": 2, **CONNECTION}))
                output += said
                went = {fate(boards.state(name), before[name], wanted) for name in BOARDS}
                then.append(f"`rollback.yml` ({back}): all {' / '.join(sorted(went))}")
                good &= back == 0 and all(boards.state(name)[0] == before[name][0] for name in BOARDS)
            again, said = run("site.yml", *change(number))
            output += said
            ended = {name: boards.state(name) for name in BOARDS}
            went = {fate(ended[name], before[name], wanted) for name in BOARDS}
            then.append(f"`site.yml` ({again}): all {' / '.join(sorted(went))}")
            good &= again == 0 and all(state == wanted for state in ended.values())
            first = " / ".join(sorted({fates["pi-01"], fates["pi-02"]}))
            said = " ".join(f"`{line}`" for line in summary(output.partition("PLAY RECAP")[0]))
            row = [by, task, f"exit {code}", fates[LOST], fates[MATE], first, fates[LATER], said, "; ".join(then)]
            print("|", " | ".join(row), "|", flush=True)
            if chosen.log:
                chosen.log.mkdir(exist_ok=True)
                (chosen.log / f"{number:02}-{by}.txt").write_text(output)
            if not good:
                wrong.append(f"{by}, {task}")
    if wrong:
        print("Not as expected:", *wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
