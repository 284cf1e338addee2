"""playbooks/inspect.yml tells of a file by a path and by a hub, and refuses what is no model in one sentence."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Server
from naming import unnamed
from runs import changed, refused

INSPECT = "playbooks/inspect.yml"


@pytest.fixture(scope="module")
def lab_model(fleet: Any) -> Path:
    return Path(fleet.variable("localhost", "lab_host_model"))


@pytest.fixture
def server(lab_model: Path) -> Iterator[Server]:
    server = Server(lab_model)
    yield server
    server.close()


def test_a_file_of_a_hub_and_the_same_by_its_path(
    run_playbook: Any, server: Server, lab_model: Path, tmp_path: Path
) -> None:
    reports = []
    for name, file in (("far", "hf://open/model@main/alphabet.gguf"), ("near", str(lab_model / "alphabet.gguf"))):
        run = run_playbook(
            INSPECT, "-e", f"file={file}", "-e", f"inspect_file={tmp_path}/{name}.json",
            "-e", f"gguf_inspect_hub={server.hub}", "-e", f"gguf_inspect_root={tmp_path}",
        )  # fmt: skip
        assert run.returncode == 0, run.stdout
        reports.append(json.loads((tmp_path / f"{name}.json").read_text()))
    far, near = reports
    assert far["tensor_groups"] == near["tensor_groups"]
    assert sorted(name for board in far["boards"] for name in board["names"]) == ["pi-01", "pi-02"]
    assert far["sha256"][0]["sha256"] == server.sha256(lab_model / "alphabet.gguf")
    # It is known of files that a quantizer has verified below its root, and of no other near one.
    assert near["sha256"][0]["sha256"] == ""


def test_a_vocabulary_is_refused_in_one_sentence(run_playbook: Any, tmp_path: Path) -> None:
    key, value = b"general.architecture", b"qwen35moe"
    header = struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    (tmp_path / "vocabulary.gguf").write_bytes(header)
    run = run_playbook(INSPECT, "-e", f"file={tmp_path}/vocabulary.gguf")
    assert run.returncode == 2, run.stdout
    message = refused(run.stdout)
    assert unnamed(message, "vocabulary.gguf") == []
    assert "Traceback" not in run.stdout + run.stderr
    assert changed(run.stdout) == 0
