#!/usr/bin/env python3
"""Build the collection from this clone, or unpack what was built as a place where Ansible's own tools find it.

    tests/sanity/collection.py build FOLDER     build the file into FOLDER and print its path
    tests/sanity/collection.py unpack FOLDER    build, then unpack it as FOLDER/ansible_collections/ik_llama/pi

Only files that git knows, or that it would add, are looked at: what it ignores never gets into the file.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PLACE = Path("ansible_collections/ik_llama/pi")


def copy_tree(target: Path) -> None:
    """Copy every file that git knows or would add; links stay links."""
    command = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0"):
        source = PROJECT / name
        if name and (source.is_symlink() or source.is_file()):  # what git knows may be deleted by now
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)


def build(folder: Path) -> Path:
    """Build the collection into `folder` and return the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        copy_tree(Path(place))
        command = ["ansible-galaxy", "collection", "build", "--force", "--output-path", str(folder.resolve()), place]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return max(folder.glob("ik_llama-pi-*.tar.gz"), key=lambda file: file.stat().st_mtime_ns)


def unpack(folder: Path) -> Path:
    """Build the collection, unpack it below `folder` and return its root."""
    root = folder / PLACE
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place, tarfile.open(build(Path(place))) as file:
        file.extractall(root, filter="data")
    return root


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("build", "unpack"):
        sys.exit(__doc__)
    print((build if sys.argv[1] == "build" else unpack)(Path(sys.argv[2])))
