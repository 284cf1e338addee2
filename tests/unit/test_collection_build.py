"""What is in the built collection, and what never gets there."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = {"CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "README.md"}
SHIPPED |= {"changelogs", "docs", "inventory", "meta", "playbooks", "plugins", "roles"}
#: What a clone may have in addition to the product, committed or not.
LOCAL = (
    ".cache/reference/index.html",
    ".collections/ansible_collections/ik_llama/pi/galaxy.yml",
    ".github/workflows/ci.yml",
    ".venv/bin/python",
    "inventory/group_vars/pis/vault.yml",
    "inventory/home/hosts.yml",
    "inventory/hosts.yml",
    "inventory/secrets.yml",
    "lab/inventory/containers.yml",
    "molecule/site/molecule.yml",
    "plugins/modules/__pycache__/x.cpython-311.pyc",
    "roles/pi_base/.cache/x",
    "tests/unit/test_x.py",
)


def names(file: Path) -> set[str]:
    """Return the names of the files in the built collection."""
    with tarfile.open(file) as built:
        return {member.name for member in built.getmembers() if not member.isdir()}


def build(source: Path, target: Path) -> Path:
    """Build a collection and return the file's path."""
    command = [str(Path(sys.executable).with_name("ansible-galaxy")), "collection", "build", "--output-path"]
    subprocess.run([*command, str(target), str(source)], check=True, stdout=subprocess.DEVNULL)
    return next(target.glob("*.tar.gz"))


def test_the_built_collection_has_what_runs_on_hosts_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "tests/sanity/collection.py"), "build", str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = names(next(tmp_path.glob("*.tar.gz"))) - {"MANIFEST.json", "FILES.json"}
    assert {name.split("/")[0] for name in found} <= SHIPPED
    assert {"README.md", "LICENSE", "CHANGELOG.md", "meta/runtime.yml", "roles/llama_server/tasks/main.yml"} <= found
    assert {name for name in found if name.startswith("inventory/")} == {
        str(file.relative_to(PROJECT)) for file in (PROJECT / "inventory/sample").rglob("*") if file.is_file()
    }
    for name in found:
        assert not any(part.startswith(".") or part == "__pycache__" for part in name.split("/")), name


@pytest.mark.parametrize("link", ["collections", "playbooks/collections"])
def test_what_a_user_keeps_in_his_clone_is_never_built(tmp_path: Path, link: str) -> None:
    source = tmp_path / "source"
    for name in (*LOCAL, "inventory/sample/hosts.yml", "playbooks/site.yml"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    for name in ("README.md", "LICENSE", "galaxy.yml"):
        (source / name).write_bytes((PROJECT / name).read_bytes())
    (source / link).symlink_to(source / ".collections")
    found = names(build(source, tmp_path)) - {"MANIFEST.json", "FILES.json"}
    assert found == {"README.md", "LICENSE", "inventory/sample/hosts.yml", "playbooks/site.yml"}


def test_the_collections_that_are_needed_are_the_same_in_both_files() -> None:
    galaxy = yaml.safe_load((PROJECT / "galaxy.yml").read_text())
    required = yaml.safe_load((PROJECT / "requirements.yml").read_text())["collections"]
    listed = {entry["name"]: entry["version"] for entry in required}
    assert galaxy["dependencies"].items() <= listed.items()


@pytest.mark.parametrize("file", sorted((PROJECT / "tests/sanity").glob("ignore-*.txt")), ids=lambda file: file.name)
def test_whatever_sanity_tests_ignore_has_a_reason(file: Path) -> None:
    for line in file.read_text().splitlines():
        path, code, reason = (*line.split(maxsplit=2), "", "")[:3]
        assert (PROJECT / path).is_file(), line
        assert code, line
        assert len(reason.lstrip("# ")) > 10, line
