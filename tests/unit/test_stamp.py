"""A large file is read once, and again only if it changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import read_stamp, sha256_of, write_stamp


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


def test_stamp_holds_until_the_file_changes(file: Path, tmp_path: Path) -> None:
    stamp = tmp_path / "model.gguf.stamp"
    assert read_stamp(file, stamp) is None
    digest = sha256_of(file)
    assert digest == hashlib.sha256(b"weights").hexdigest()
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
