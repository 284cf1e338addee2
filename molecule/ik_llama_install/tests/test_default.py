"""A release was cross-compiled, handed over, and works on the board."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

BUILDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "builder"
ROOT = "/opt/ik_llama"


@pytest.fixture(scope="module")
def release(board: Any) -> dict[str, Any]:
    return json.loads(board.file(f"{ROOT}/current/release.json").content_string)


def test_pointer_names_the_release(board: Any, release: dict[str, Any]) -> None:
    link = board.run(f"readlink {ROOT}/current && ls -A {ROOT} {ROOT}/releases")
    assert link.stdout.split() == [
        f"releases/{release['id']}", f"{ROOT}:", "current", "releases", f"{ROOT}/releases:", release["id"],
    ]  # fmt: skip


def test_board_has_what_the_builder_made(board: Any, release: dict[str, Any]) -> None:
    made = BUILDER / "releases" / release["id"]
    offered = json.loads((made / "release.json").read_text())
    assert offered == {name: value for name, value in release.items() if name != "self_test"}
    program = (made / "bin/llama-server").read_bytes()
    assert hashlib.sha256(program).hexdigest() == release["binaries"]["llama-server"]["sha256"]
    sums = board.run(f"sha256sum {ROOT}/current/bin/llama-server")
    assert sums.stdout.split()[0] == release["binaries"]["llama-server"]["sha256"]


def test_release_is_for_the_board_and_has_the_dot_product(release: dict[str, Any]) -> None:
    assert release["architecture"] == "aarch64"
    assert release["target_cpu"] == "cortex-a76"
    assert release["options"]["GGML_ARCH_FLAGS"] == "-mcpu=cortex-a76"
    assert release["features"]["sdot"] > 0


def test_server_runs_and_knows_its_commit(board: Any, release: dict[str, Any]) -> None:
    shown = board.run(f"{ROOT}/current/bin/llama-server --version")
    assert shown.rc == 0
    assert f"({release['commit'][:7]}" in shown.stdout + shown.stderr


def test_it_was_tested_on_the_board_and_the_hazard_of_its_commit_was_measured(release: dict[str, Any]) -> None:
    tested = release["self_test"]
    assert tested["golden"]["ok"]
    assert not tested["types"]["q8_0"]["ok"]
    assert tested["types"]["q8_0"]["error"] > 3 * tested["limit"]
    for name in ("q6_K", "q4_K", "iq4_ks", "iq2_ks", "iq4_k"):
        assert tested["types"][name]["error"] < tested["limit"] / 3, name


def test_builder_keeps_no_build_folder() -> None:
    assert not (BUILDER / "build").exists()
