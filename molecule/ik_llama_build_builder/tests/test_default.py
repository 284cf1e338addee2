"""One board has compiled, the other has taken the same programs, and they run there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = "/opt/ik_llama"


@pytest.fixture(scope="module")
def releases(fleet: Any) -> dict[str, dict[str, Any]]:
    return {
        name: json.loads(fleet.host(name).file(f"{ROOT}/current/release.json").content_string)
        for name in ("pi-01", "pi-02")
    }


def test_both_have_the_same_programs(fleet: Any, releases: dict[str, dict[str, Any]]) -> None:
    first, second = releases.values()
    assert first["id"] == second["id"]
    assert first["binaries"] == second["binaries"]
    assert first["self_test"]["golden"]["ok"]
    assert second["self_test"]["golden"]["ok"]
    for name in releases:
        digest = fleet.host(name).check_output(f"sha256sum {ROOT}/current/bin/llama-server").split()[0]
        assert digest == first["binaries"]["llama-server"]["sha256"]


def test_only_the_builder_has_compiled(fleet: Any) -> None:
    assert fleet.host("pi-01").file(f"{ROOT}/source.git").is_directory
    assert fleet.host("pi-02").check_output(f"ls -A {ROOT}").split() == ["current", "releases"]
    assert not fleet.host("pi-02").exists("ninja")


def test_the_programs_run_on_both(fleet: Any, releases: dict[str, dict[str, Any]]) -> None:
    for name, release in releases.items():
        shown = fleet.host(name).run(f"{ROOT}/current/bin/llama-server --version")
        assert shown.rc == 0
        assert f"({release['commit'][:7]}" in shown.stdout + shown.stderr


def test_nothing_stays_on_the_controller() -> None:
    assert not (Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "parcels").exists() or not list(
        (Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "parcels").iterdir()
    )
