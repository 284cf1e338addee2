"""A model is placed complete or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import placement
from naming import named, unnamed

DATA = b"GGUF" + bytes(1000)
SHA256 = hashlib.sha256(DATA).hexdigest()
DIGEST = SHA256[:12]
UID = os.getuid()


@pytest.fixture
def place(tmp_path: Path) -> Any:
    place = placement.Placement(tmp_path, SHA256, len(DATA))
    place.receive(UID)
    return place


def test_nothing_there(place: Any) -> None:
    assert not place.finished()
    assert not place.pointed()
    assert place.missing_bytes() == len(DATA)
    assert unnamed(place.accept(UID), place.part) == []


def test_half_a_copy_is_kept(place: Any) -> None:
    place.part.write_bytes(DATA[:400])
    assert place.missing_bytes() == len(DATA) - 400
    assert unnamed(place.accept(UID), 400, 1004) == []
    assert place.part.exists()
    assert not place.path.exists()


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x"])
def test_a_damaged_copy_is_removed(place: Any, data: bytes) -> None:
    place.part.write_bytes(data)
    assert unnamed(place.accept(UID), hashlib.sha256(data).hexdigest(), SHA256) == []
    assert not place.part.exists()
    assert not place.path.exists()


def test_another_controller_may_have_placed_it(place: Any) -> None:
    place.path.write_bytes(DATA[:-1] + b"x")
    assert unnamed(place.accept(UID), place.part) == []
    place.path.write_bytes(DATA)
    assert place.accept(UID) == ""
    place.publish({})
    assert place.finished()


def test_a_full_disk_is_one_sentence(plugin: Any, place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = plugin("modules", "gguf_place")
    place.part.write_bytes(DATA)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def failed(_: Any, msg: str) -> None:
        raise RuntimeError(msg)

    monkeypatch.setattr(placement, "write_stamp", full)
    monkeypatch.setattr(module.AnsibleModule, "__init__", lambda self, **_: None)
    monkeypatch.setattr(module.AnsibleModule, "fail_json", failed)
    monkeypatch.setattr(module.AnsibleModule, "check_mode", False, raising=False)
    parameters = {"folder": str(tmp_path), "sha256": SHA256, "size": len(DATA), "manifest": {}, "account": UID}
    monkeypatch.setattr(module.AnsibleModule, "params", parameters, raising=False)
    monkeypatch.setattr(module.os, "umask", lambda _: 0)
    with pytest.raises(RuntimeError) as failure:
        module.main()
    assert unnamed(failure.value, place.path, "No space left on device") == []
    assert not named(failure.value, place.part)


def test_a_whole_copy_is_published(place: Any, tmp_path: Path) -> None:
    place.part.write_bytes(DATA)
    assert place.accept(UID) == ""
    assert not place.finished()  # no manifest yet
    place.publish({"name": "m"})
    assert place.finished()
    assert place.pointed()
    assert (tmp_path / "current.gguf").resolve() == tmp_path / f"{DIGEST}.gguf"
    assert (tmp_path / "current.json").read_text() == '{\n  "name": "m"\n}\n'
    assert place.path.stat().st_mode & 0o777 == 0o644


def test_a_model_damaged_later_is_found(place: Any) -> None:
    place.part.write_bytes(DATA)
    place.accept(UID)
    place.publish({})
    place.path.write_bytes(DATA[:-1] + b"x")
    assert not place.finished()
    place.path.write_bytes(DATA[:10])
    assert not place.finished()


def test_a_file_touched_later_is_read_again_and_stays(place: Any) -> None:
    place.part.write_bytes(DATA)
    place.accept(UID)
    place.publish({})
    place.path.write_bytes(DATA)
    assert place.finished()


def test_a_model_that_the_service_cannot_read_is_made_readable(place: Any) -> None:
    place.part.write_bytes(DATA)
    assert place.accept(UID) == ""
    place.publish({})
    assert place.pointed()
    place.path.chmod(0)
    assert not place.pointed()
    place.publish({})
    assert place.pointed()
    assert place.path.stat().st_mode & 0o777 == 0o644


def test_a_complete_file_without_its_manifest_is_adopted(place: Any) -> None:
    place.path.write_bytes(DATA)
    facts = place.facts()
    assert (facts["complete"], facts["finished"], facts["missing_bytes"]) == (True, False, 0)
    assert place.accept(UID) == ""
    place.publish({})
    assert place.facts()["finished"]
    place.path.write_bytes(DATA[:-1] + b"x")
    assert not place.facts()["complete"]


def test_a_copy_of_version_0_1_is_continued(tmp_path: Path) -> None:
    place = placement.Placement(tmp_path, SHA256, len(DATA))
    place.taken.write_bytes(DATA[:400])
    assert place.missing_bytes() == len(DATA) - 400
    place.receive(UID)
    assert place.part.read_bytes() == DATA[:400]
    assert not place.taken.exists()


def test_what_another_account_received_is_not_taken(place: Any) -> None:
    place.part.write_bytes(DATA)
    assert unnamed(place.accept(UID + 1), place.incoming) == []
    assert place.part.exists()
    assert not place.path.exists()
