"""The importance matrix in the form that the engine reads: as it is, or converted once from GGUF form."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import read_stamp, stamped_sha256
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import is_gguf, write_legacy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import (
    STAMPS,
    fetched_folder,
    make_folder,
    stamp_path,
)


class WrongSum(ValueError):
    """The file has another sha256 than was given."""


def _target(path: Path, sha256: str, root: Path) -> Path:
    """Return where the converted matrix is kept."""
    return fetched_folder(root, sha256) / (path.name.removesuffix(".gguf") + ".dat")


def legacy(path: Path, given: str, root: Path, check: bool) -> tuple[Path, bool]:
    """Return where the matrix is, or will be, in legacy form, and whether it had to be converted.

    Raises WrongSum, ImatrixError and OSError.
    """
    with path.open("rb") as file:
        if not check:
            make_folder(root / STAMPS)
        sha256, _read = stamped_sha256(path, stamp_path(root, path), not check)
        if given and sha256 != given.lower():
            raise WrongSum(
                f"checksum mismatch: expected {given}, got {sha256}. Download it again, or correct the sha256."
            )
        if not is_gguf(file):
            return path, False
        target = _target(path, sha256, root)
        if target.is_file() or check:
            return target, not target.is_file()
        make_folder(target.parent)
        part = target.with_name(target.name + ".part")
        with part.open("wb") as out:
            write_legacy(file, path.stat().st_size, out)
            out.flush()
            os.fsync(out.fileno())
        part.chmod(0o644)
        part.replace(target)
    return target, True


def known_legacy(path: Path, root: Path) -> Path | None:
    """Return the matrix in legacy form if it exists and is known without reading it whole. Raises OSError."""
    with path.open("rb") as file:
        if not is_gguf(file):
            return path
    sha256 = read_stamp(path, stamp_path(root, path))
    target = _target(path, sha256, root) if sha256 else None
    return target if target and target.is_file() else None
