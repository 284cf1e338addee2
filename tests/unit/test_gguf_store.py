"""Everything that quantizing has left goes, and nothing else does."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import (
    contents,
    pruned,
    remove_contents,
    running_jobs,
    stamp_path,
    unused,
)

OURS = {
    "alphabet/0123456789ab.gguf": 1000,
    "alphabet/0123456789ab.json": 10,
    "alphabet/ba9876543210.gguf.part": 500,
    "alphabet/.rpi5.json.new": 5,
    ".sources/0123456789ab/source.gguf": 3000,
    ".sources/0123456789ab.json": 20,
    ".stamps/0123456789ab.json": 30,
    ".jobs/quantize/log": 40,
}


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * OURS.get(name, 1))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path / "models", *OURS)
    (tmp_path / "models/alphabet/rpi5.json").symlink_to("0123456789ab.json")
    return tmp_path / "models"


def test_all_of_it_goes_with_the_folders(root: Path) -> None:
    found = contents(root)
    assert found.kept == []
    assert found.size >= sum(OURS.values())
    remove_contents(root, found)
    assert not root.exists()
    assert contents(root).ours == []


def test_files_of_others_stay(root: Path, tmp_path: Path) -> None:
    kept = ["alphabet/mine.gguf", "alphabet/notes.json", "other/x.txt", "README"]
    make(root, *kept)
    (root / "alphabet/link.json").symlink_to("notes.json")
    (root / "elsewhere").symlink_to(tmp_path)
    found = contents(root)
    assert {str(path.relative_to(root)) for path in found.kept} == {*kept, "alphabet/link.json", "elsewhere"}
    remove_contents(root, found)
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file()}
    assert left == {*kept, "alphabet/link.json", "elsewhere"}
    assert not (root / ".sources").exists()


def test_what_a_link_leads_to_is_not_followed(root: Path, tmp_path: Path) -> None:
    make(tmp_path, "large/model.gguf")
    (root / ".sources/0123456789ab/linked.gguf").symlink_to(tmp_path / "large/model.gguf")
    remove_contents(root, contents(root))
    assert (tmp_path / "large/model.gguf").exists()


@pytest.mark.parametrize("check", [True, False])
def test_the_module(plugin: Any, root: Path, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    make(root, "alphabet/mine.gguf")
    with patch_module_args({"root": str(root), "_ansible_check_mode": check}), pytest.raises(SystemExit):
        plugin("modules", "gguf_store").main()
    result = json.loads(capsys.readouterr().out)
    assert result["changed"]
    assert result["freed_bytes"] >= sum(OURS.values())
    assert result["kept"] == ["alphabet/mine.gguf"]
    assert (root / ".sources").exists() is check
    assert (root / "alphabet/mine.gguf").exists()


def test_nothing_goes_while_something_runs(plugin: Any, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(root, ".jobs/quantize/lock")
    assert running_jobs(root) == []
    with (root / ".jobs/quantize/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with patch_module_args({"root": str(root)}), pytest.raises(SystemExit):
            plugin("modules", "gguf_store").main()
    result = json.loads(capsys.readouterr().out)
    assert (result["failed"], result["running"]) == (True, ["quantize"])
    assert (root / "alphabet/0123456789ab.gguf").exists()


def models(root: Path, *ids: str) -> None:
    """Make these models of the name alphabet, each newer than the one before, with a pointer and a stamp each."""
    for age, name in enumerate(ids):
        make(root, f"alphabet/{name}.gguf", f"alphabet/{name}.json")
        os.utime(root / f"alphabet/{name}.json", (1000 + age, 1000 + age))
        (root / f"alphabet/recipe-{age}.json").symlink_to(f"{name}.json")
        stamp = stamp_path(root, root / f"alphabet/{name}.gguf")
        make(root, str(stamp.relative_to(root)))


def test_the_newest_models_and_the_wanted_one_stay(tmp_path: Path) -> None:
    ids = [digit * 12 for digit in "abcd"]
    models(tmp_path, *ids)
    make(tmp_path, "alphabet/eeeeeeeeeeee.gguf.part", "alphabet/aaaaaaaaaaaa.gguf.part", "alphabet/mine.gguf")
    found = pruned(tmp_path, unused(tmp_path, "alphabet", ids[0], 2, []))
    remove_contents(tmp_path, found)
    left = sorted(path.name for path in (tmp_path / "alphabet").iterdir())
    assert left == [
        *("aaaaaaaaaaaa.gguf", "aaaaaaaaaaaa.gguf.part", "aaaaaaaaaaaa.json", "dddddddddddd.gguf", "dddddddddddd.json"),
        *("mine.gguf", "recipe-0.json", "recipe-3.json"),
    ]
    assert len(list((tmp_path / ".stamps").iterdir())) == 2
    assert unused(tmp_path, "alphabet", ids[0], 2, []) == []
    assert unused(tmp_path, "other", ids[0], 1, []) == []


def test_sources_in_use_stay_whatever_their_age(tmp_path: Path) -> None:
    for age, name in enumerate("abcd"):
        make(tmp_path, f".sources/{name * 12}/source.gguf")
        os.utime(tmp_path / f".sources/{name * 12}", (1000 + age, 1000 + age))
    used = [tmp_path / ".sources" / ("a" * 12) / "source.gguf", tmp_path / "elsewhere.dat"]
    assert {path.name for path in unused(tmp_path, "alphabet", "0" * 12, 2, used)} == {"b" * 12, "c" * 12}
    assert {path.name for path in unused(tmp_path, "alphabet", "0" * 12, 1, used)} == {"b" * 12, "c" * 12, "d" * 12}
    assert unused(tmp_path, "alphabet", "0" * 12, 4, used) == []
