"""The model is complete on the board, only the rest of an interrupted copy was sent, and problems are found before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import facts, refused, results, stats

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
    assert not [name for name in names if name.endswith((".part", ".new", ".incoming"))]
    assert "test" not in board.check_output("ls -A /var/lib/llama/models /var/lib/llama /var/lib")


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


def test_a_second_run_changes_nothing_and_its_plan_says_so(run_playbook: Any, manifest: dict[str, Any]) -> None:
    run = run_playbook("molecule/gguf_distribute/converge.yml")
    assert run.returncode == 0, run.stdout
    assert stats(run.stdout)["pi-01"]["changed"] == 0
    plan = facts(run.stdout, "pi-01")["gguf_distribute_plan"]
    assert (plan["change"], plan["placed"], plan["pointed"], plan["missing_bytes"]) == (False, True, True, 0)
    assert plan["manifest"] == manifest
    assert len(results(run.stdout, "gguf_place_info")) == 1


def test_a_board_makes_the_same_forecast_as_this_machine(run_playbook: Any, manifest: dict[str, Any]) -> None:
    """Role gguf_quantize on a board, up to its plan: the header of the model there, and the matrix."""
    run = run_playbook("molecule/gguf_distribute/forecast.yml")
    assert run.returncode == 0, run.stdout
    plan = facts(run.stdout, "pi-01")["gguf_quantize_plan"]
    assert plan["forecast"]["types"] == manifest["types"]
    assert plan["forecast"]["tensor_bytes"] == manifest["tensor_bytes"]
    assert (plan["change"], plan["manifest"], plan["source"]["finished"]) == (True, {}, True)


def test_a_model_of_a_quantizer_that_cannot_log_in_passes_through_the_controller(
    run_playbook: Any, fleet: Any, board: Any, manifest: dict[str, Any]
) -> None:
    """pi-02 has made the model, and has no SSH key of its own."""
    other = fleet.host("pi-02")
    root = Path(fleet.variable("pi-01", "gguf_distribute_source_root")).expanduser()
    work = Path(fleet.variable("pi-01", "gguf_distribute_work"))
    other.check_output("mkdir -p /srv/models/alphabet")
    fleet.podman("cp", str(root / "alphabet" / manifest["file"]), "distribute-pi-02:/srv/models/alphabet/")
    other.check_output(
        "printf %%s %s > /srv/models/alphabet/rpi5-16gb-card.json", (root / "alphabet/rpi5-16gb-card.json").read_text()
    )
    board.check_output(f"rm -r {FOLDER}")
    arguments = ["-e", "gguf_distribute_from=pi-02", "-e", "gguf_distribute_source_root=/srv/models"]
    run = run_playbook("molecule/gguf_distribute/converge.yml", *arguments, "--limit", "pi-01")
    assert run.returncode == 0, run.stdout
    assert [result.host for result in results(run.stdout, "long_copy") if result.changed] == ["pi-01", "pi-01"]
    assert board.file(f"{FOLDER}/{manifest['sha256'][:12]}.gguf").sha256sum == manifest["sha256"]
    assert list(work.rglob("*.gguf*")) == []


def test_a_complete_file_without_its_manifest_is_adopted(
    run_playbook: Any, board: Any, manifest: dict[str, Any]
) -> None:
    board.check_output(f"cd {FOLDER} && rm *.json *.stamp current.gguf")
    run = run_playbook("molecule/gguf_distribute/converge.yml")
    assert run.returncode == 0, run.stdout
    copied = [result for name in ("long_copy", "gguf_receive") for result in results(run.stdout, name)]
    assert {result.outcome for result in copied} <= {"skipped"}
    assert json.loads(board.file(f"{FOLDER}/current.json").content_string) == manifest


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
