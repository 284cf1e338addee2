"""Models that nothing uses go, and all others stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import placement
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.placement import remove_model, unused_models

OLD, BEFORE, NOW, NEXT = (digit * 12 for digit in "abcd")
USERS = ["current/model", "verified/model", "previous/model", "models/*/current.gguf"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A board that has had four models: the fourth is there and not served yet, a fifth is half received."""
    models = tmp_path / "models/alphabet"
    models.mkdir(parents=True)
    for digest in (OLD, BEFORE, NOW, NEXT):
        for suffix in (".gguf", ".json", ".gguf.stamp"):
            (models / f"{digest}{suffix}").write_text("model")
    (models / f"{'e' * 12}.gguf.part").write_text("half")
    (models / "current.gguf").symlink_to(f"{NEXT}.gguf")
    (models / "current.json").symlink_to(f"{NEXT}.json")
    for number, digest in (("1", OLD), ("2", BEFORE), ("3", NOW)):
        (tmp_path / "deployments" / number).mkdir(parents=True)
        (tmp_path / "deployments" / number / "model").symlink_to(models / f"{digest}.gguf")
    for pointer, number in (("current", "3"), ("verified", "3"), ("previous", "2")):
        (tmp_path / pointer).symlink_to(f"deployments/{number}")
    return tmp_path


def unused(root: Path) -> list[Path]:
    users = [str(root / pattern) for pattern in USERS]
    return unused_models(root / "models", users)


def test_what_no_pointer_uses_goes_with_all_that_belongs_to_it(root: Path) -> None:
    found = unused(root)
    assert [path.name for path in found] == [f"{OLD}.gguf"]
    remove_model(found[0])
    left = {path.name.split(".")[0] for path in (root / "models/alphabet").iterdir()}
    assert left == {BEFORE, NOW, NEXT, "current", "e" * 12}
    assert unused(root) == []
    assert not (root / "deployments/1/model").exists()


def test_where_nothing_is_used_nothing_goes(root: Path) -> None:
    for link in (root / "current", root / "verified", root / "previous", root / "models/alphabet/current.gguf"):
        link.unlink()
    assert unused(root) == []


def test_a_file_that_is_no_model_of_ours_stays(root: Path) -> None:
    (root / "models/alphabet/mine.gguf").write_text("model")
    assert [path.name for path in unused(root)] == [f"{OLD}.gguf"]


def test_removing_all_leaves_what_is_not_ours(tmp_path: Path) -> None:
    ours = tmp_path / "alphabet"
    place = placement.Placement(ours, "0" * 64, 4)
    place.receive(os.getuid())
    place.part.write_bytes(b"half")
    for name in ("111111111111.gguf", "111111111111.json", "111111111111.gguf.stamp", "222222222222.gguf.part"):
        (ours / name).write_bytes(b"x")
    (ours / "current.gguf").symlink_to("111111111111.gguf")
    theirs = [tmp_path / "lost+found", tmp_path / "photos", tmp_path / "alphabet2/mine.gguf", tmp_path / "notes.txt"]
    theirs[0].mkdir()
    theirs[1].mkdir()
    (theirs[1] / "a.jpg").touch()
    theirs[2].parent.mkdir()
    theirs[2].touch()
    theirs[3].touch()
    left = placement.remove_all(tmp_path)
    assert [path.name for path in left] == ["alphabet2", "notes.txt", "photos"]
    assert all(path.exists() for path in theirs)
    assert not ours.exists()


def test_removing_all_of_nothing(tmp_path: Path) -> None:
    assert placement.remove_all(tmp_path / "models") == []
    (tmp_path / "models").mkdir()
    assert placement.remove_all(tmp_path / "models") == []
    assert not (tmp_path / "models").exists()


def test_what_is_left_of_a_copy_goes_unless_somebody_writes_there(tmp_path: Path) -> None:
    place = placement.Placement(tmp_path / "alphabet", "0" * 64, 4)
    assert placement.abandoned(tmp_path) == []
    place.receive(os.getuid())
    place.part.write_bytes(b"ha")
    assert placement.abandoned(tmp_path) == [place.incoming]
    with place.part.open("ab"):
        assert placement.abandoned(tmp_path) == []
