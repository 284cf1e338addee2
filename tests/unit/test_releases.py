from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import releases
from naming import unnamed

ID = "0123456789ab"


def stage(root: Path, content: str = "program") -> dict[str, Any]:
    bin_folder = Path(releases.staging(str(root), ID)) / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "llama-server").write_text(content)
    return {"id": ID, "binaries": releases.describe(str(bin_folder), ["llama-server"])}


def state(root: Path) -> str:
    return releases.inspect(str(root), ID)["state"]


def test_release_appears_at_once_with_its_manifest(tmp_path: Path) -> None:
    assert state(tmp_path) == "absent"
    release = stage(tmp_path)
    assert state(tmp_path) == "absent"
    releases.finish(str(tmp_path), release)
    assert state(tmp_path) == "finished"
    assert releases.inspect(str(tmp_path), ID)["release"] == release
    assert sorted(p.name for p in (tmp_path / "releases").iterdir()) == [ID]


@pytest.mark.parametrize(
    ("hurt", "names", "others"),
    [
        (lambda where: (where / "release.json").unlink(), ["release.json"], ["llama-server"]),
        (lambda where: (where / "release.json").write_text("{"), ["release.json"], ["llama-server"]),
        (lambda where: (where / "release.json").write_text("[]"), ["release.json"], ["llama-server"]),
        (lambda where: (where / "release.json").write_text('{"id": "other"}'), ["release.json", "other"], []),
        (lambda where: (where / "bin/llama-server").unlink(), ["llama-server"], ["release.json", "7"]),
        (lambda where: (where / "bin/llama-server").write_text("pro"), ["llama-server", 3, 7], ["release.json"]),
    ],
)
def test_damage_is_seen_and_mended(tmp_path: Path, hurt: Any, names: list[Any], others: list[str]) -> None:
    releases.finish(str(tmp_path), stage(tmp_path))
    hurt(tmp_path / "releases" / ID)
    found = releases.inspect(str(tmp_path), ID)
    assert found["state"] == "damaged"
    assert unnamed(found["damage"], *names) == []
    assert unnamed(found["damage"], *others) == others
    releases.finish(str(tmp_path), stage(tmp_path))
    assert state(tmp_path) == "finished"


def test_same_size_other_content_is_seen_by_the_digest(tmp_path: Path) -> None:
    release = stage(tmp_path)
    releases.finish(str(tmp_path), release)
    program = tmp_path / "releases" / ID / "bin/llama-server"
    program.write_text("PROGRAM")
    damage = releases.inspect(str(tmp_path), ID)["damage"]
    digests = [hashlib.sha256(text).hexdigest() for text in (b"program", b"PROGRAM")]
    assert unnamed(damage, "llama-server", *digests) == []
    program.write_text("program")  # the same bytes, written again: read, and found right
    assert state(tmp_path) == "finished"


def test_a_program_that_was_seen_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases.finish(str(tmp_path), stage(tmp_path))
    monkeypatch.setattr(releases, "sha256_file", lambda path: pytest.fail(f"{path} was read"))
    assert state(tmp_path) == "finished"


def test_a_manifest_of_version_0_1_is_read(tmp_path: Path) -> None:
    manifest = stage(tmp_path)
    releases.finish(str(tmp_path), manifest)
    where = tmp_path / "releases" / ID
    (where / "release.json").write_text(json.dumps({"key": ID, "binaries": manifest["binaries"]}))
    found = releases.inspect(str(tmp_path), ID)
    assert (found["state"], found["release"]) == ("finished", manifest)


def test_pointer_moves_by_rename_and_remembers(tmp_path: Path) -> None:
    assert releases.pointed(str(tmp_path)) == releases.pointed(str(tmp_path), "previous") == ""
    releases.point(str(tmp_path), "aaa")
    releases.point(str(tmp_path), ID)
    releases.point(str(tmp_path), ID)
    assert releases.pointed(str(tmp_path)) == ID
    assert releases.pointed(str(tmp_path), "previous") == "aaa"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["current", "previous"]
    assert json.dumps(str((tmp_path / "current").readlink())) == f'"releases/{ID}"'


def many(root: Path) -> list[str]:
    """Five releases, the last one the newest."""
    names = [f"{number:012x}" for number in range(5)]
    for number, name in enumerate(names):
        (root / "releases" / name).mkdir(parents=True)
        os.utime(root / "releases" / name, (1000 + number, 1000 + number))
    return names


def test_old_releases_go_and_those_in_use_stay(tmp_path: Path) -> None:
    names = many(tmp_path)
    releases.point(str(tmp_path), names[4])
    link = tmp_path / "deployments/d/engine"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "releases" / names[1])
    pattern = f"{tmp_path}/deployments/*/engine"
    assert sorted(releases.prune(str(tmp_path), 3, [pattern])) == [names[0]]
    assert releases.users(str(tmp_path), [pattern]) == {names[1]: [str(link)]}
    releases.point(str(tmp_path), names[2])  # now 4 is the one before
    assert releases.prune(str(tmp_path), 0, []) == [names[3], names[1]]
    assert sorted(p.name for p in (tmp_path / "releases").iterdir()) == [names[2], names[4]]
