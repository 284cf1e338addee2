"""The virtual Pi: what QEMU is shown, keys, and the order in which its initrd loads modules."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.ik_llama.lab.plugins.module_utils.virtual_pi import (
    image_id,
    machine_id,
    qemu_arguments,
    virtual_plan,
)
from test_lab import plan

WRITER = Path(__file__).resolve().parents[2] / "lab/roles/virtual_pi/files/make_image.py"
BOARD: dict[str, Any] = {
    "name": "pi-01",
    "image": "/cache/virtual/0123456789ab",
    "folder": "/cache/lab/virtual/machines/pi-01",
    "ssh_keys": "/cache/lab/virtual/boards/pi-01",
    "compiled": "/cache/podman/zip",
    "ssh_port": 2231,
    "memory_mib": 3072,
    "cores": 2,
}


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_image", WRITER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ssh_is_reached_on_loopback_alone_and_keys_cannot_be_written() -> None:
    words = qemu_arguments(BOARD, kvm=False)
    assert "user,id=net,hostfwd=tcp:127.0.0.1:2231-:22" in words
    assert [word for word in words if "/boards/pi-01" in word and not word.endswith("readonly=on")] == []


def test_the_processor_is_a_pi_5s_or_the_machines_own() -> None:
    assert "cortex-a76" in qemu_arguments(BOARD, kvm=False)
    assert {"kvm", "host"} <= set(qemu_arguments(BOARD, kvm=True))


@pytest.mark.parametrize("name", ["name", "image", "ssh_port", "memory_mib", "cores"])
def test_another_machine_has_another_id(name: str) -> None:
    assert machine_id({**BOARD, name: "other"}) != machine_id(BOARD)


def test_the_image_is_named_by_what_goes_into_it_wherever_the_cache_is() -> None:
    known = image_id(plan(), "8G", "script")
    assert known == image_id(plan(wanted={"cache": "/b"}), "8G", "script")
    others = [
        image_id(plan(wanted={"packages": ["sudo"]}), "8G", "script"),
        image_id(plan({"trees": {"board": "bb"}}), "8G", "script"),
        image_id(plan(), "9G", "script"),
        image_id(plan(), "8G", "another"),
    ]
    assert known not in others


@pytest.mark.parametrize(
    ("exists", "running", "busy", "free", "change", "problems"),
    [
        (True, True, [2231], 100, False, []),
        (True, False, [], 100, True, []),
        (False, True, [2231], 5000, True, []),
        (True, False, [2231], 100, True, ["2231"]),
        (False, True, [], 100, True, ["virtual_pi_space_gib"]),
    ],
)
def test_the_plan_says_what_is_missing_and_what_prevents_it(
    exists: bool, running: bool, busy: list[int], free: int, change: bool, problems: list[str]
) -> None:
    lab = {"machine": {"ports_busy": busy, "free_mib": free, "cache": "/c"}}
    found = [{"item": {"name": "pi-01", "ssh_port": 2231}, "running": running}]
    plan = virtual_plan(lab, found, {"path": "/c/virtual/0", "exists": exists}, 3)
    assert (plan["image"], plan["image_missing"], plan["change"]) == ("/c/virtual/0", not exists, change)
    assert len(plan["problems"]) == len(problems)
    assert all(word in problem for word, problem in zip(problems, plan["problems"]))


def test_modules_are_loaded_after_what_they_depend_on(writer: ModuleType) -> None:
    listed = "fs/ext4/ext4.ko.xz: lib/crc16.ko.xz fs/jbd2/jbd2.ko.xz\nfs/jbd2/jbd2.ko.xz: lib/crc16.ko.xz\n"
    listed += "lib/crc16.ko.xz:\nblock/virtio-blk.ko.xz:\n"
    order = writer.load_order(listed, ["virtio_blk", "ext4"])
    assert order == ["block/virtio-blk.ko.xz", "lib/crc16.ko.xz", "fs/jbd2/jbd2.ko.xz", "fs/ext4/ext4.ko.xz"]
    with pytest.raises(KeyError):
        writer.load_order(listed, ["xfs"])


def test_a_number_that_is_now_another_process_is_no_machine(plugin: Any, tmp_path: Path) -> None:
    board = plugin("modules", "virtual_board", "lab")
    assert board.process(tmp_path) == 0
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert board.process(tmp_path) == 0
    assert not board.stop(tmp_path)


def test_stopping_is_a_power_cut(plugin: Any, tmp_path: Path) -> None:
    board = plugin("modules", "virtual_board", "lab")
    # Like QEMU, it is shown of the file; unlike QEMU it does not write it.
    argv = ["sh", "-c", "echo up; read line", "machine", str(tmp_path / "pid")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as machine:
        assert machine.stdout and machine.stdout.readline() == b"up\n"
        (tmp_path / "pid").write_text(str(machine.pid))
        assert board.process(tmp_path) == machine.pid
        assert board.stop(tmp_path)
        assert machine.wait(5) == -9
    assert not board.stop(tmp_path)
