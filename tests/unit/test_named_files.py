"""Files in llama_server_extra are tried before the server is started with them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.server import named_files
from naming import unnamed

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the folders of the tests be none that the unit hides."""
    monkeypatch.setattr(named_files, "HIDDEN", {"/home": "ProtectHome"})


def test_a_file_that_is_there(tmp_path: Path, seen: None) -> None:
    (tmp_path / "template").write_text("x")
    assert named_files.unreadable([["--chat-template-file", str(tmp_path / "template")], ["-fa"]], USER) == []


@pytest.mark.parametrize("flag", ["--chat-template-file", "--chat_template_file", "-md", "--lora"])
def test_a_file_that_is_missing(flag: str, tmp_path: Path, seen: None) -> None:
    (problem,) = named_files.unreadable([[flag, str(tmp_path / "gone")]], USER)
    assert unnamed(problem, flag, tmp_path / "gone") == []


@pytest.mark.parametrize(("path", "option"), [("/home/pi/t.jinja", "ProtectHome"), ("/tmp/t", "PrivateTmp")])
def test_a_file_that_the_unit_hides(path: str, option: str) -> None:
    (problem,) = named_files.unreadable([["--chat-template-file", path]], USER)
    assert unnamed(problem, path, option) == []


def test_a_relative_path_and_a_folder(tmp_path: Path, seen: None) -> None:
    assert len(named_files.unreadable([["--mmproj", "x.gguf"], ["--lora", str(tmp_path)]], USER)) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can try as another account")
def test_a_file_that_another_account_cannot_read(tmp_path: Path, seen: None) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    arguments = [["--ssl-key-file", str(tmp_path / "secret")]]
    assert len(named_files.unreadable(arguments, "nobody")) == 1
    assert len(named_files.unreadable(arguments, "no-such-account")) == 1
    assert named_files.unreadable(arguments, "root") == []


def test_what_names_no_file(tmp_path: Path) -> None:
    assert named_files.named_files([["--threads", "3"], ["--lora"], ["--alias", "/tmp/x"]]) == []
