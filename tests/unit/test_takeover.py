"""A file that another account wrote is taken over as it is, or not at all."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common import takeover

UID = os.getuid()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    takeover.own_folder(tmp_path / "incoming", UID)
    (tmp_path / "incoming/file").write_text("text")
    return tmp_path / "incoming/file"


def test_a_file_becomes_ours_alone(source: Path, tmp_path: Path) -> None:
    with os.fdopen(takeover.take_over(source, UID, tmp_path / "taken")) as file:
        assert file.read() == "text"
    found = (tmp_path / "taken").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o600)
    assert not source.exists()


def linked(source: Path) -> None:
    source.rename(source.with_name("other"))
    source.symlink_to("other")


def named_twice(source: Path) -> None:
    os.link(source, source.with_name("other"))


def pipe(source: Path) -> None:
    source.unlink()
    os.mkfifo(source)


def socket_(source: Path) -> None:
    source.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(source.parent)
        made.bind(source.name)


def folder(source: Path) -> None:
    source.unlink()
    source.mkdir()


@pytest.mark.parametrize("change", [linked, named_twice, pipe, socket_, folder])
def test_what_is_no_file_of_one_name_stays_where_it_is(
    source: Path, tmp_path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change(source)
    before = source.lstat()
    with pytest.raises(takeover.TakeoverError):
        takeover.take_over(source, UID, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()
    assert source.lstat() == before


def test_a_writer_is_noticed(source: Path, tmp_path: Path) -> None:
    with source.open("r+b") as writer:
        with pytest.raises(takeover.TakeoverError):
            takeover.take_over(source, UID, tmp_path / "taken")
        with mmap.mmap(writer.fileno(), 0):
            writer.close()
            with pytest.raises(takeover.TakeoverError):
                takeover.take_over(source, UID, tmp_path / "taken")
    assert source.read_text() == "text"
    os.close(takeover.take_over(source, UID, tmp_path / "taken"))


def test_a_writer_that_came_in_between_is_noticed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(takeover, "has_writer", lambda _: next(answers))
    with pytest.raises(takeover.TakeoverError):
        takeover.take_over(source, UID, tmp_path / "taken")
    assert source.read_text() == "text"
    assert not (tmp_path / "taken").exists()


def test_a_writer_is_found_where_the_file_system_has_no_leases(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(fcntl, "fcntl", without)
    with source.open("rb") as reader:
        assert not takeover.has_writer(reader.fileno())
        with subprocess.Popen(
            ["sh", "-c", 'exec 3>>"$1"; echo; read -r _', "sh", source], stdin=-1, stdout=-1
        ) as other:
            assert other.stdout and other.stdin
            other.stdout.readline()
            assert takeover.has_writer(reader.fileno())
            other.stdin.close()
        assert not takeover.has_writer(reader.fileno())


def test_the_writer_and_his_folder_are_the_expected_ones(source: Path, tmp_path: Path) -> None:
    with pytest.raises(takeover.TakeoverError):
        takeover.take_over(source, UID + 1, tmp_path / "taken")
    source.parent.rename(tmp_path / "moved")
    source.parent.symlink_to("moved")
    with pytest.raises(takeover.TakeoverError):
        takeover.take_over(source, UID, tmp_path / "taken")
    source.parent.unlink()
    with pytest.raises(FileNotFoundError):
        takeover.take_over(source, UID, tmp_path / "taken")


def test_a_folder_of_the_writer_is_his_alone(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir(mode=0o755)
    takeover.own_folder(tmp_path / "incoming", UID)
    assert stat.S_IMODE((tmp_path / "incoming").stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to("incoming")
    with pytest.raises(OSError):
        takeover.own_folder(tmp_path / "link", UID)
