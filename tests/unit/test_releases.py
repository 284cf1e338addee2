from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import releases
from naming import unnamed

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
    ("hurt", "names", "others"),
    [
        (lambda where: (where / "release.json").unlink(), ["release.json"], ["llama-server"]),
        (lambda where: (where / "release.json").write_text("{"), ["release.json"], ["llama-server"]),
        (lambda where: (where / "release.json").write_text("[]"), ["release.json"], ["llama-server"]),
        (lambda where: (where / "release.json").write_text('{"key": "other"}'), ["release.json", "other"], []),
        (lambda where: (where / "bin/llama-server").unlink(), ["llama-server"], ["release.json", "7"]),
        (lambda where: (where / "bin/llama-server").write_text("pro"), ["llama-server", 3, 7], ["release.json"]),
    ],
)
def test_damage_is_seen_and_mended(tmp_path: Path, hurt: Any, names: list[Any], others: list[str]) -> None:
    releases.finish(str(tmp_path), stage(tmp_path))
    hurt(tmp_path / "releases" / KEY)
    found = releases.inspect(str(tmp_path), KEY)
    assert found["state"] == "damaged"
    assert unnamed(found["damage"], *names) == []
    assert unnamed(found["damage"], *others) == others
    releases.finish(str(tmp_path), stage(tmp_path))
    assert state(tmp_path) == "finished"


def test_same_size_other_content_is_seen_by_the_digest(tmp_path: Path) -> None:
    release = stage(tmp_path)
    releases.finish(str(tmp_path), release)
    program = tmp_path / "releases" / KEY / "bin/llama-server"
    program.write_text("PROGRAM")
    damage = releases.inspect(str(tmp_path), KEY)["damage"]
    digests = [hashlib.sha256(text).hexdigest() for text in (b"program", b"PROGRAM")]
    assert unnamed(damage, "llama-server", *digests) == []
    program.write_text("program")  # the same bytes, written again: read, and found right
    assert state(tmp_path) == "finished"


def test_a_program_that_was_seen_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases.finish(str(tmp_path), stage(tmp_path))
    monkeypatch.setattr(releases, "sha256", lambda path: pytest.fail(f"{path} was read"))
    assert state(tmp_path) == "finished"


def test_pointer_moves_by_rename_and_remembers(tmp_path: Path) -> None:
    assert releases.current_key(str(tmp_path)) == releases.previous_key(str(tmp_path)) == ""
    releases.point(str(tmp_path), "aaa")
    releases.point(str(tmp_path), KEY)
    releases.point(str(tmp_path), KEY)
    assert releases.current_key(str(tmp_path)) == KEY
    assert releases.previous_key(str(tmp_path)) == "aaa"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["current", "previous"]
    assert json.dumps(str((tmp_path / "current").readlink())) == f'"releases/{KEY}"'


def many(root: Path) -> list[str]:
    """Five releases, the last one the newest."""
    keys = [f"{number:012x}" for number in range(5)]
    for number, key in enumerate(keys):
        (root / "releases" / key).mkdir(parents=True)
        os.utime(root / "releases" / key, (1000 + number, 1000 + number))
    return keys


def test_old_releases_go_and_those_in_use_stay(tmp_path: Path) -> None:
    keys = many(tmp_path)
    releases.point(str(tmp_path), keys[4])
    link = tmp_path / "deployments/d/engine"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "releases" / keys[1])
    pattern = f"{tmp_path}/deployments/*/engine"
    assert sorted(releases.prune(str(tmp_path), 3, [pattern])) == [keys[0]]
    assert releases.users(str(tmp_path), [pattern]) == {keys[1]: [str(link)]}
    releases.point(str(tmp_path), keys[2])  # now 4 is the one before
    assert releases.prune(str(tmp_path), 0, []) == [keys[3], keys[1]]
    assert sorted(p.name for p in (tmp_path / "releases").iterdir()) == [keys[2], keys[4]]
