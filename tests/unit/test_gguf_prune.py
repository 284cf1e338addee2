"""Models that nothing uses go, and all others stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

OLD, BEFORE, NOW, NEXT = (digit * 12 for digit in "abcd")
USERS = ["current/model", "proven/model", "previous/model", "models/*/current.gguf"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A board that has had four models: the fourth is there and not served yet, a fifth is half received."""
    models = tmp_path / "models/alphabet"
    models.mkdir(parents=True)
    for digits in (OLD, BEFORE, NOW, NEXT):
        for suffix in (".gguf", ".json", ".gguf.stamp"):
            (models / f"{digits}{suffix}").write_text("model")
    (models / f"{'e' * 12}.gguf.part").write_text("half")
    (models / "current.gguf").symlink_to(f"{NEXT}.gguf")
    (models / "current.json").symlink_to(f"{NEXT}.json")
    for key, digits in (("1", OLD), ("2", BEFORE), ("3", NOW)):
        (tmp_path / "deployments" / key).mkdir(parents=True)
        (tmp_path / "deployments" / key / "model").symlink_to(models / f"{digits}.gguf")
    for pointer, key in (("current", "3"), ("proven", "3"), ("previous", "2")):
        (tmp_path / pointer).symlink_to(f"deployments/{key}")
    return tmp_path


def unused(plugin: Any, root: Path) -> list[Path]:
    users = [str(root / pattern) for pattern in USERS]
    found: list[Path] = plugin("modules", "gguf_prune").unused_models(root / "models", users)
    return found


def test_what_no_pointer_uses_goes_with_all_that_belongs_to_it(plugin: Any, root: Path) -> None:
    found = unused(plugin, root)
    assert [path.name for path in found] == [f"{OLD}.gguf"]
    plugin("modules", "gguf_prune").remove_model(found[0])
    left = {path.name.split(".")[0] for path in (root / "models/alphabet").iterdir()}
    assert left == {BEFORE, NOW, NEXT, "current", "e" * 12}
    assert unused(plugin, root) == []
    assert not (root / "deployments/1/model").exists()


def test_where_nothing_is_used_nothing_goes(plugin: Any, root: Path) -> None:
    for link in (root / "current", root / "proven", root / "previous", root / "models/alphabet/current.gguf"):
        link.unlink()
    assert unused(plugin, root) == []


def test_a_file_that_is_no_model_of_ours_stays(plugin: Any, root: Path) -> None:
    (root / "models/alphabet/mine.gguf").write_text("model")
    assert [path.name for path in unused(plugin, root)] == [f"{OLD}.gguf"]
