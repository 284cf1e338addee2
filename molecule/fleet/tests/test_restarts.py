"""Boards are restarted one after another, and none after one that does not come back.

A container that restarts itself ends; where it is to come back, the tests start it again.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from naming import unnamed
from runs import refused, results, stats

#: As on a board that is allowed to restart itself, and has nothing else to change.
VARIABLES = "pi_base_allow_reboot=true pi_base_kernel=own pi_base_swappiness=-1 pi_base_governor='' ansible_timeout=5"
PLAY = ("playbooks/build.yml", "-e", VARIABLES)
#: The kernel is that of the tests' machine, which has booted once.
BOOT = "cat /proc/sys/kernel/random/uuid > /run/boot_id && mount --bind /run/boot_id /proc/sys/kernel/random/boot_id"


def server(board: Any) -> str:
    return str(board.check_output("systemctl show -P MainPID llama-server"))


def want_a_restart(*boards: Any) -> None:
    for board in boards:
        board.check_output("touch /run/reboot-required && echo config.txt > /run/reboot-required.pkgs")


@pytest.fixture
def container(fleet: Any) -> Any:
    """Return the container's name of a board."""
    return lambda name: f"{fleet.variable('localhost', 'lab_host_instance')}-{name}"


def test_a_board_that_does_not_come_back_is_the_only_one(boards: dict[str, Any], play: Any, fleet: Any) -> None:
    others = [boards[name] for name in ("pi-02", "pi-03", "pi-04")]
    before = [server(board) for board in others]
    want_a_restart(*boards.values())
    try:
        run = play(*PLAY, "-e", "pi_base_reboot_timeout=10")
    finally:
        fleet.restart("pi-01")
    assert run.returncode == 2, run.stdout
    assert unnamed(refused(run.stdout, "pi-01"), "pi-01", "pi_base_reboot_timeout", "config.txt.before-ansible") == []
    assert {result.host for result in results(run.stdout, "reboot")} == {"pi-01"}
    assert [server(board) for board in others] == before
    for board in others:
        board.check_output("rm /run/reboot-required /run/reboot-required.pkgs")


def test_boards_that_come_back_serve_again_one_after_another(
    boards: dict[str, Any], play: Any, podman: Any, container: Any, asked: Any
) -> None:
    two = ("pi-01", "pi-02")
    want_a_restart(*(boards[name] for name in two))
    started: dict[str, float] = {}
    ended = threading.Event()

    def power() -> None:
        for name in two:
            while podman("inspect", "--format={{.State.Running}}", container(name)) == "true":
                if ended.wait(0.5):
                    return
            started[name] = time.monotonic()
            podman("start", container(name))
            podman("exec", container(name), "sh", "-c", BOOT)

    thread = threading.Thread(target=power)
    thread.start()
    try:
        run = play(*PLAY, "--limit", "pi-01,pi-02,localhost")
    finally:
        ended.set()
        thread.join()
    lost = [result.task for result in results(run.stdout) if result.outcome == "unreachable"]
    assert run.returncode == 0, (refused(run.stdout), lost)
    assert list(started) == list(two)
    assert started["pi-02"] - started["pi-01"] > 1
    for name in two:
        assert not boards[name].file("/run/reboot-required").exists
        assert asked(boards[name], 8080) == "abcdefghijkl"
        assert [r.outcome for r in results(run.stdout, "llama_answer") if r.host == name] == ["ok"]
    assert stats(run.stdout)["pi-01"]["failures"] == 0
