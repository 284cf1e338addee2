"""A large file is read once, and again only when it has changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ik_llama.pi.plugins.module_utils.common import stamp as stamps
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import ChangingError, stamped_sha256
from naming import unnamed

SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def run(plugin: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(**args: Any) -> dict[str, Any]:
        with patch_module_args(args), pytest.raises(SystemExit):
            plugin("modules", "file_stamp").main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def test_read_once(run: Any, file: Path) -> None:
    first = run(path=str(file))
    assert {key: first[key] for key in ("exists", "size", "sha256", "read", "changed")} == {
        "exists": True, "size": 7, "sha256": SHA256, "read": True, "changed": True,
    }  # fmt: skip
    assert first["mtime"] == pytest.approx(file.stat().st_mtime)
    second = run(path=str(file))
    assert (second["sha256"], second["read"], second["changed"]) == (SHA256, False, False)


def test_read_again_when_it_changed(run: Any, file: Path) -> None:
    run(path=str(file))
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(1, 1))
    assert run(path=str(file))["sha256"] == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_stamp_elsewhere_and_check_mode(run: Any, file: Path, tmp_path: Path) -> None:
    stamp = tmp_path / "other.json"
    assert run(path=str(file), stamp=str(stamp), _ansible_check_mode=True)["sha256"] == SHA256
    assert not stamp.exists()
    run(path=str(file), stamp=str(stamp))
    assert stamp.exists()
    assert not file.with_name("model.gguf.stamp").exists()


def test_nothing_there(run: Any, tmp_path: Path) -> None:
    assert run(path=str(tmp_path / "gone"))["exists"] is False


def test_a_file_that_changes_while_it_is_read(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: Path) -> str:
        path.write_bytes(b"still being written")
        return SHA256

    monkeypatch.setattr(stamps, "sha256_file", slow)
    with pytest.raises(ChangingError) as caught:
        stamped_sha256(file, tmp_path / "stamp", True)
    assert unnamed(caught.value, file) == []
    assert not (tmp_path / "stamp").exists()
