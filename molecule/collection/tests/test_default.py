"""The installed collection serves without the clone, and has what it should have and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[3]
INSTALLED = "collections/ansible_collections/ik_llama/pi"


@pytest.fixture(scope="module")
def folder(fleet: Any) -> Path:
    cache, instance = (fleet.variable("localhost", f"lab_host_{name}") for name in ("cache", "instance"))
    return Path(cache) / "lab" / instance / "installed"


def test_the_board_serves(fleet: Any, asked: Any) -> None:
    board = fleet.host("pi-01")
    assert board.service("llama-server").is_running
    assert asked(board, 8080) == "abcdefghijkl"


def test_every_module_is_documented_for_who_has_only_the_collection(folder: Path) -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-doc"), "-t", "module", "-l", "ik_llama.pi", "--json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LC_ALL": "C.UTF-8"}
        | {"ANSIBLE_COLLECTIONS_PATH": str(folder / "collections")},
        capture_output=True,
        text=True,
        check=True,
    )
    plugins = [*(PROJECT / "plugins/modules").glob("*.py"), *(PROJECT / "plugins/action").glob("*.py")]
    wanted = {f"ik_llama.pi.{path.stem}" for path in plugins if path.stem != "__init__"}
    listed = json.loads(run.stdout)
    assert set(listed) == wanted
    assert all(listed.values())


def test_the_built_file_has_the_product_and_nothing_of_the_clone(folder: Path) -> None:
    (built,) = folder.glob("ik_llama-pi-*.tar.gz")
    with tarfile.open(built) as file:
        members = file.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    names = {member.name for member in members if member.isfile()}
    for name in names:
        top = name.split("/")[0]
        assert top not in ("lab", "tests", "molecule", "collections", "Makefile", "ansible.cfg", "site.yml"), name
        assert not any(part.startswith(".") for part in name.split("/")), name
        assert top != "inventory" or name.startswith("inventory/sample/"), name
    tracked = subprocess.run(
        ["git", "ls-files", "roles", "plugins", "playbooks", "inventory/sample"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    product = {name for name in tracked if (PROJECT / name).is_file() and not (PROJECT / name).is_symlink()}
    assert product - names == set()


def test_the_installed_files_are_those_of_the_built_file(folder: Path) -> None:
    root = folder / INSTALLED
    assert not [path for path in root.rglob("*") if path.is_symlink()]
    listed = json.loads((root / "FILES.json").read_text())["files"]
    for entry in listed:
        assert (root / entry["name"]).exists(), entry["name"]
