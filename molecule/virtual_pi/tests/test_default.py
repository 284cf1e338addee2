"""A whole machine: confined, locked in memory; serves after reboot, lack of memory, power cuts; keeps its API key."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

LETTERS = "abcdefghijkl"
KEY_FILE = "/etc/llama-server/api-keys"
#: Records every second what all processes were started with.
WATCH = "while :; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; sleep 1; done > /run/watched"


def ports(board: Any) -> set[tuple[str, str, str]]:
    """Return what listens: protocol, address, program."""
    rows = (line.split() for line in board.check_output("ss -tulpnH").splitlines())
    return {(row[0], row[4], re.search(r'"(.*?)"', row[6])[1]) for row in rows}  # type: ignore[index]


@pytest.fixture(scope="module")
def before(machine: Any) -> Any:
    return ports(machine.host())


@pytest.fixture(scope="module")
def served(machine: Any, before: Any, play: Any, draw: Any) -> dict[str, Any]:
    """Run site.yml on an empty board, cut its power at a random moment, and run site.yml again."""
    first = play("site.yml")
    moment = first.until(draw.uniform(10, 80))
    machine.cut()
    first.abandon()
    machine.boot()
    between = machine.serving()
    machine.host().check_output("systemd-run --quiet --unit=watch sh -c %s", WATCH)
    second = play("site.yml")
    code, seconds = second.end()
    print(f"cut after {moment:.0f} s in {first.task()}; {between} served then; site.yml again took {seconds:.0f} s")
    return {"between": between, "code": code, "said": first.said() + second.said()}


@pytest.fixture(scope="module")
def board(machine: Any, served: dict[str, Any]) -> Any:
    assert served["code"] == 0, served["said"][-3000:]
    return machine.host()


def test_it_serves_after_a_power_cut_and_site_again(machine: Any, board: Any, served: dict[str, Any]) -> None:
    serving = machine.serving()
    assert re.fullmatch("[0-9a-f]{12}", serving), serving
    assert served["between"] in ("nothing", serving)
    assert machine.hollow() == []


def test_exposure(board: Any) -> None:
    report = board.check_output("systemd-analyze security --no-pager llama-server.service")
    level = re.search(r"Overall exposure level for llama-server.service: ([\d.]+)", report)
    assert level
    print(level[0])
    assert float(level[1]) <= 2.0, report


def test_the_model_is_locked_in_memory(board: Any, process: Any) -> None:
    locked = int(re.search(r"VmLck:\s+(\d+) kB", process(board)["text"])[1]) * 1024  # type: ignore[index]
    model = json.loads(board.check_output("cat /var/lib/llama/models/alphabet/current.json"))
    assert locked >= model["tensor_bytes"]


def test_one_more_port_is_open(board: Any, before: set[tuple[str, str, str]]) -> None:
    after = ports(board)
    print(f"before: {sorted(before)}\nafter: {sorted(after)}")
    assert after - before == {("tcp", "0.0.0.0:8080", "llama-server")}
    assert before <= after


def test_the_key_is_seen_nowhere(board: Any, served: dict[str, Any], key: str) -> None:
    board.check_output("systemctl stop watch")
    assert board.check_output(f"cat {KEY_FILE}") == key
    assert key not in served["said"]
    assert board.file("/run/watched").size > 10000
    places = {
        "processes during site.yml": f"grep -cFf {KEY_FILE} /run/watched",
        "processes": f"cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -cFf {KEY_FILE}",
        "journal": f"journalctl --no-pager --output=export | grep -cFf {KEY_FILE}",
        "files": f"find / -xdev -type f ! -path {KEY_FILE} -exec grep -lFf {KEY_FILE} {{}} + | grep -c .",
    }
    seen = {place: board.run(command).stdout.strip() for place, command in places.items()}
    assert seen == dict.fromkeys(places, "0")


def test_a_server_without_memory_dies_alone_and_comes_back(board: Any, asked: Any) -> None:
    def show(name: str) -> str:
        return str(board.check_output(f"systemctl show -P {name} llama-server"))

    pid, most, boot = show("MainPID"), show("MemoryMax"), board.check_output("cat /proc/sys/kernel/random/boot_id")
    shells = board.check_output("systemctl show -P MainPID ssh")
    board.check_output("systemctl set-property --runtime llama-server MemoryMax=20M")
    for _ in range(30):
        if show("MainPID") != pid:
            break
        time.sleep(1)
    assert show("MainPID") != pid
    board.check_output(f"systemctl set-property --runtime llama-server MemoryMax={most}")
    begun = time.monotonic()
    assert asked(board, 8080, key_file=KEY_FILE) == LETTERS
    print(f"served again {time.monotonic() - begun:.0f} s after it had memory again")
    assert "killed by the OOM killer" in board.check_output("journalctl -u llama-server --no-pager --boot --grep=OOM")
    assert board.check_output("cat /proc/sys/kernel/random/boot_id") == boot
    assert board.check_output("systemctl show -P MainPID ssh") == shells


def test_it_serves_after_a_reboot(machine: Any, board: Any) -> None:
    serving, boot = machine.serving(), board.check_output("cat /proc/sys/kernel/random/boot_id")
    board.check_output("systemctl --no-block reboot")
    time.sleep(5)
    machine.boot()
    host = machine.host()
    assert host.check_output("cat /proc/sys/kernel/random/boot_id") != boot
    assert machine.serving() == serving
    assert host.service("llama-server").is_enabled


def test_an_upgrade_without_power_leaves_the_old_one_or_the_new(machine: Any, board: Any, play: Any, draw: Any) -> None:
    old = machine.serving()
    upgrade = play("playbooks/serve.yml", "-e", "llama_server_threads=2")
    moment = upgrade.until(draw.uniform(3, 40))
    machine.cut()
    upgrade.abandon()
    machine.boot()
    between = machine.serving()
    again = play("playbooks/serve.yml", "-e", "llama_server_threads=2")
    code, seconds = again.end()
    assert code == 0, again.said()[-3000:]
    new = machine.serving()
    print(
        f"cut after {moment:.0f} s in {upgrade.task()}; serve.yml again took {seconds:.0f} s; {old}, {between}, {new}"
    )
    assert between in (old, new)
    assert new != old
    assert re.fullmatch("[0-9a-f]{12}", new), new
    assert machine.hollow() == []
