from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import releases

KEY = "0123456789ab"


def stage(root: Path, content: str = "program") -> dict[str, Any]:
    bin_folder = Path(releases.staging(str(root), KEY)) / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "llama-server").write_text(content)
    return {"key": KEY, "binaries": releases.describe(str(bin_folder), ["llama-server"])}


def state(root: Path) -> str:
    return releases.inspect(str(root), KEY)["state"]


def test_release_appears_at_once_with_its_manifest(tmp_path: Path) -> None:
    assert state(tmp_path) == "absent"
    release = stage(tmp_path)
    assert state(tmp_path) == "absent"
    releases.finish(str(tmp_path), release)
    assert state(tmp_path) == "finished"
    assert releases.inspect(str(tmp_path), KEY)["release"] == release
    assert sorted(p.name for p in (tmp_path / "releases").iterdir()) == [KEY]


@pytest.mark.parametrize(
    ("hurt", "why"),
    [
        (lambda where: (where / "release.json").unlink(), "release.json"),
        (lambda where: (where / "release.json").write_text("{"), "release.json"),
        (lambda where: (where / "release.json").write_text("[]"), "release.json"),
        (lambda where: (where / "release.json").write_text('{"key": "other"}'), "release other"),
        (lambda where: (where / "bin/llama-server").unlink(), "llama-server is missing"),
        (lambda where: (where / "bin/llama-server").write_text("pro"), "3 bytes instead of 7"),
    ],
)
def test_damage_is_seen_and_mended(tmp_path: Path, hurt: Any, why: str) -> None:
    releases.finish(str(tmp_path), stage(tmp_path))
    hurt(tmp_path / "releases" / KEY)
    found = releases.inspect(str(tmp_path), KEY)
    assert found["state"] == "damaged"
    assert why in found["damage"]
    releases.finish(str(tmp_path), stage(tmp_path))
    assert state(tmp_path) == "finished"


def test_same_size_other_content_is_seen_by_the_digest(tmp_path: Path) -> None:
    release = stage(tmp_path)
    where = Path(releases.staging(str(tmp_path), KEY)) / "bin"
    releases.compare(str(where), release["binaries"], digests=True)
    (where / "llama-server").write_text("PROGRAM")
    releases.compare(str(where), release["binaries"], digests=False)
    with pytest.raises(releases.ReleaseError, match="another SHA-256"):
        releases.compare(str(where), release["binaries"], digests=True)


def test_pointer_moves_by_rename(tmp_path: Path) -> None:
    assert releases.current_key(str(tmp_path)) == ""
    releases.point(str(tmp_path), "aaa")
    releases.point(str(tmp_path), KEY)
    assert releases.current_key(str(tmp_path)) == KEY
    assert [p.name for p in tmp_path.iterdir()] == ["current"]
    assert json.dumps(str((tmp_path / "current").readlink())) == f'"releases/{KEY}"'
