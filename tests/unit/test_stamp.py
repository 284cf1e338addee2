"""A large file is read once, and again only if it changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common import stamp as stamps
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import (
    ChangingError,
    read_stamp,
    stamped_sha256,
    write_stamp,
)
from naming import unnamed

SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


def test_stamp_holds_until_the_file_changes(file: Path, tmp_path: Path) -> None:
    stamp = tmp_path / "model.gguf.stamp"
    assert read_stamp(file, stamp) is None
    digest = sha256_file(file)
    assert digest == SHA256
    write_stamp(file, stamp, digest)
    assert read_stamp(file, stamp) == digest
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(1, 1))
    assert read_stamp(file, stamp) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"size": 7}', "null", "\x00"])
def test_a_broken_stamp_is_none(file: Path, tmp_path: Path, text: str) -> None:
    stamp = tmp_path / "stamp"
    stamp.write_text(text)
    assert read_stamp(file, stamp) is None
    assert read_stamp(tmp_path / "gone", stamp) is None


def test_read_once_and_again_when_it_changed(file: Path, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    assert stamped_sha256(file, stamp, True) == (SHA256, True)
    assert stamped_sha256(file, stamp, True) == (SHA256, False)
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(1, 1))
    assert stamped_sha256(file, stamp, True) == (hashlib.sha256(b"WEIGHTS").hexdigest(), True)


def test_without_keeping_it_no_stamp_is_written(file: Path, tmp_path: Path) -> None:
    assert stamped_sha256(file, tmp_path / "stamp", False) == (SHA256, True)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        stamped_sha256(tmp_path / "gone", tmp_path / "stamp", True)


def test_a_file_that_changes_while_it_is_read(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: Path) -> str:
        path.write_bytes(b"still being written")
        return SHA256

    monkeypatch.setattr(stamps, "sha256_file", slow)
    with pytest.raises(ChangingError) as caught:
        stamped_sha256(file, tmp_path / "stamp", True)
    assert unnamed(caught.value, file) == []
    assert not (tmp_path / "stamp").exists()
