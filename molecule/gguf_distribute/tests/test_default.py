"""The model came over whole, the rest of an interrupted copy was all that was sent, and damage is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import refused

FOLDER = "/var/lib/llama/models/alphabet"


@pytest.fixture(scope="module")
def manifest(fleet: Any) -> dict[str, Any]:
    root = Path(fleet.variable("pi-01", "gguf_distribute_source_root")).expanduser()
    found: dict[str, Any] = json.loads((root / "alphabet/rpi5-16gb-card.json").read_text())
    return found


def test_the_model_is_whole(board: Any, manifest: dict[str, Any]) -> None:
    path = f"{FOLDER}/{manifest['sha256'][:12]}.gguf"
    assert board.file(f"{FOLDER}/current.gguf").linked_to == path
    assert board.file(path).size == manifest["size"]
    assert board.file(path).sha256sum == manifest["sha256"]


def test_manifest_and_stamp_are_beside_it(board: Any, manifest: dict[str, Any]) -> None:
    assert json.loads(board.file(f"{FOLDER}/current.json").content_string) == manifest
    stamp = json.loads(board.file(f"{FOLDER}/{manifest['sha256'][:12]}.gguf.stamp").content_string)
    assert (stamp["size"], stamp["sha256"]) == (manifest["size"], manifest["sha256"])


def test_nothing_half_made_is_left(board: Any) -> None:
    names = board.check_output(f"ls -A {FOLDER}").split()
    assert len(names) == 5
    assert not [name for name in names if name.endswith((".part", ".new"))]


def test_owner_and_modes(board: Any, manifest: dict[str, Any]) -> None:
    for name in (f"{manifest['sha256'][:12]}.gguf", f"{manifest['sha256'][:12]}.json", "current.json"):
        file = board.file(f"{FOLDER}/{name}")
        assert (file.user, file.group) == ("root", "root")
    assert board.file(f"{FOLDER}/{manifest['sha256'][:12]}.gguf").mode == 0o644
    assert board.file(f"{FOLDER}/{manifest['sha256'][:12]}.json").mode == 0o644


def test_the_copy_went_on_where_it_had_ended(fleet: Any, manifest: dict[str, Any]) -> None:
    log = Path(fleet.variable("pi-01", "gguf_distribute_work"), "pi-01/log").read_text()
    sent = int(re.search(r"Total bytes sent: ([\d,]+)", log)[1].replace(",", ""))  # type: ignore[index]
    rest = manifest["size"] - 1_000_000
    assert rest < sent < rest + 50_000


def test_a_far_host_that_cannot_log_in_is_told_before_it_copies(run_playbook: Any) -> None:
    run = run_playbook("molecule/gguf_distribute/converge.yml", "-e", "gguf_distribute_from=pi-02", "--limit", "pi-01")
    assert run.returncode == 2
    assert unnamed(refused(run.stdout, "pi-01"), "pi-01", "pi-02", "gguf_distribute_from", "ssh-copy-id") == []


def test_a_host_that_the_inventory_does_not_have_is_refused(run_playbook: Any) -> None:
    run = run_playbook("molecule/gguf_distribute/converge.yml", "-e", "gguf_distribute_from=nas")
    assert run.returncode == 2
    assert unnamed(refused(run.stdout, "pi-01"), "pi-01", "gguf_distribute_from", "nas") == []


def test_too_little_room_is_refused(run_playbook: Any, board: Any, manifest: dict[str, Any]) -> None:
    board.check_output(f"mv {FOLDER}/current.json {FOLDER}/current.gguf /tmp")
    model = f"{FOLDER}/{manifest['sha256'][:12]}"
    board.check_output(f"mv {model}.json {model}.gguf /tmp")
    try:
        run = run_playbook("molecule/gguf_distribute/converge.yml", "-e", "gguf_distribute_disk_reserve_mib=99999999")
        assert run.returncode == 2
        assert unnamed(refused(run.stdout, "pi-01"), "pi-01", FOLDER, "gguf_distribute_disk_reserve_mib") == []
        assert board.check_output(f"ls {FOLDER}") == f"{manifest['sha256'][:12]}.gguf.stamp"
    finally:
        board.check_output(f"mv /tmp/*.gguf /tmp/*.json {FOLDER}")
