"""Files and pointers change in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import names, point, write_file


def test_a_pointer_moves_even_over_what_an_interruption_left(tmp_path: Path) -> None:
    link = tmp_path / "current"
    assert not names(link, "a")
    (tmp_path / ".current.new").symlink_to("half")
    point(link, "a")
    assert names(link, "a")
    point(link, "b")
    assert names(link, "b")
    assert os.listdir(tmp_path) == ["current"]


def test_a_file_is_replaced_whole_with_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("old")
    before = path.stat().st_ino
    umask = os.umask(0o077)
    try:
        write_file(path, "new", 0o644)
    finally:
        os.umask(umask)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.stat().st_ino != before
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_what_was_renamed_is_flushed_content_first_name_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[str, list[str]]] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        flushed.append((os.readlink(f"/proc/self/fd/{handle}"), sorted(os.listdir(tmp_path))))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    write_file(tmp_path / "manifest.json", "text")
    point(tmp_path / "current", "a")
    assert flushed == [
        (f"{tmp_path}/.manifest.json.new", [".manifest.json.new"]),
        (str(tmp_path), ["manifest.json"]),
        (str(tmp_path), ["current", "manifest.json"]),
    ]
