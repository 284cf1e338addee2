"""Publications: made once, of what was verified, and what is said in them."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.publication import (
    Publication,
    PublicationError,
    find_model,
    ours,
    remove,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import effective, load_recipe
from ansible_collections.ik_llama.pi.plugins.plugin_utils.publication import (
    front_matter,
    publication_problems,
    quantize_command,
)
from naming import unnamed

RECIPE = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files/recipes/rpi5-16gb-card.yml").read_text()
)
VALUES = {"publication": "alphabet-card", "license": "", "base_model": "", "upload_to": "", "imatrix": True}
FILE = {"license": "apache-2.0", "base_models": ["https://huggingface.co/Qwen/Qwen3.5-35B-A3B"]}
MANIFEST: dict[str, Any] = {
    "recipe": "card",
    "quantized": effective(load_recipe(RECIPE)),
    "source": {"file": "source.gguf"},
    "imatrix": {"file": "it's.dat"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of models with one that is finished."""
    folder = tmp_path / "models/alphabet"
    folder.mkdir(parents=True)
    content = b"a model"
    (folder / "0123456789ab.gguf").write_bytes(content)
    manifest = {"id": "0123456789ab", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "0123456789ab.json").write_text(json.dumps(manifest))
    (folder / "card.json").symlink_to("0123456789ab.json")
    return tmp_path / "models"


def publication(root: Path, **texts: str) -> Publication:
    folder = root.parent / "published"
    return Publication(folder, "alphabet-card", find_model(root, "alphabet", "card", folder), texts)


def test_it_is_made_once_and_named_by_its_content(root: Path) -> None:
    first = publication(root, README="one")
    assert not first.finished()
    first.publish()
    assert publication(root, README="one").finished()
    made = {path.name: path.stat().st_ino for path in first.link.iterdir()}
    assert set(made) == {"README", "SHA256SUMS", "alphabet-card.gguf"}
    assert made["alphabet-card.gguf"] == first.model.path.stat().st_ino
    first.publish()
    assert {path.name: path.stat().st_ino for path in first.link.iterdir()} == made
    for line in (first.link / "SHA256SUMS").read_text().splitlines():
        sha256, _, name = line.partition("  ")
        assert hashlib.sha256((first.link / name).read_bytes()).hexdigest() == sha256


def test_another_text_is_another_publication_and_the_older_one_goes(root: Path) -> None:
    first, second = publication(root, README="one"), publication(root, README="two")
    first.publish()
    (first.place.parent / ".0.new").mkdir()
    assert second.before()["README"] == "one"
    second.publish()
    assert [path.name for path in first.place.parent.iterdir()] == [second.id]
    assert (second.link / "README").read_text() == "two"
    assert first.model.path.is_file()


def test_a_model_that_was_altered_is_refused(root: Path) -> None:
    first = publication(root, README="one")
    first.publish()
    second = publication(root, README="two")
    second.model.path.write_bytes(b"A model")
    with pytest.raises(PublicationError) as error:
        second.publish()
    assert error.value.code == "sum"
    assert unnamed(str(error.value), second.model.manifest["sha256"], second.model.path) == []
    assert os.readlink(first.link) == first.target


def test_what_is_missing_or_in_the_way(root: Path) -> None:
    for name, folder, code in (
        ("other", root.parent / "published", "model"),
        ("card", root / "alphabet/card.json", "folder"),
        ("card", Path("/proc/published"), "device"),
    ):
        with pytest.raises(PublicationError) as error:
            find_model(root, "alphabet", name, folder)
        assert error.value.code == code
    first = publication(root)
    first.link.mkdir(parents=True)
    with pytest.raises(PublicationError) as error:
        first.publish()
    assert error.value.code == "folder"


def test_removing_leaves_what_is_not_ours(root: Path) -> None:
    first = publication(root, README="one")
    first.publish()
    (first.folder / ".upload").mkdir()
    (first.folder / "mine").symlink_to(root)
    assert {path.name for path in ours(first.folder)} == {"alphabet-card", ".publications", ".upload"}
    remove(first.folder)
    assert [path.name for path in first.folder.iterdir()] == ["mine"]
    (first.folder / "mine").unlink()
    publication(root, README="one").publish()
    remove(first.folder)
    assert not first.folder.exists()
    assert ours(first.folder) == []
    assert first.model.path.is_file()


def test_a_publication_that_was_damaged_is_made_again(root: Path) -> None:
    first = publication(root, README="one")
    first.publish()
    damaged = first.link / "alphabet-card.gguf"
    damaged.unlink()
    damaged.write_bytes(b"half")
    assert not first.finished()
    first.publish()
    assert damaged.samefile(first.model.path)


def test_what_was_measured_is_found(root: Path) -> None:
    (root / "alphabet/0123456789ab.evaluation.json").write_text('{"evaluations": {"abc": {}}}')
    assert find_model(root, "alphabet", "card", root.parent / "published").evaluations == {"abc": {}}


@pytest.mark.parametrize(
    ("values", "file", "quantized", "names"),
    [
        ({}, {}, {}, None),
        ({"publication": "a b"}, {}, {}, ("gguf_publish_as", "a b")),
        ({"base_model": "nobody"}, {}, {}, ("gguf_publish_base_model", "nobody")),
        ({"upload_to": "a/b/c"}, {}, {}, ("gguf_publish_upload_to", "a/b/c")),
        ({}, {"license": ""}, {}, ("gguf_publish_license",)),
        ({"license": "mit"}, {"license": ""}, {}, None),
        ({}, {}, {"base": "Q4_K"}, ("card",)),
    ],
)
def test_problems(values: Any, file: Any, quantized: Any, names: Any) -> None:
    manifest = {**MANIFEST, "quantized": {**MANIFEST["quantized"], **quantized}}
    problems = publication_problems({**VALUES, **values}, {**FILE, **file}, manifest, RECIPE)
    assert len(problems) == (names is not None)
    for problem in problems:
        assert unnamed(problem, *names) == []


def test_front_matter() -> None:
    matter = front_matter(VALUES, FILE)
    assert (matter["license"], matter["base_model"]) == ("apache-2.0", "Qwen/Qwen3.5-35B-A3B")
    other = front_matter({**VALUES, "license": "mit", "base_model": "a/b"}, {"license": "", "base_models": []})
    assert (other["license"], other["base_model"]) == ("mit", "a/b")
    assert "imatrix" in matter["tags"]
    assert set(matter["tags"]) - set(front_matter({**VALUES, "imatrix": False}, FILE)["tags"]) == {"imatrix"}
    assert "base_model" not in front_matter(VALUES, {**FILE, "base_models": ["https://example.org/a/b"]})


def test_the_command_can_be_pasted_into_a_shell() -> None:
    argv = shlex.split(quantize_command(RECIPE, MANIFEST, "result.gguf"))
    assert argv[0] == "llama-quantize"
    assert argv[argv.index("--imatrix") + 1] == "it's.dat"
    assert argv[-3:] == ["source.gguf", "result.gguf", RECIPE["base"]]
    assert "--imatrix" not in quantize_command(RECIPE, {**MANIFEST, "imatrix": None}, "result.gguf")
