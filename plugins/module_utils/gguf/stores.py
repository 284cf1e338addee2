"""Where the quantizer keeps what it made of others' files, below the folder of all models (``root``).

``.sources/<sha256, 12 digits>/NAME``: what was downloaded or converted, under a name made from its content.
``.stamps/<path's sha256, 12 digits>.json``: the sha256 of large files, see stamp.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def fetched_folder(root: Path, sha256: str) -> Path:
    """The folder of a file with this sha256."""
    return root / ".sources" / sha256[:12]


def stamp_path(root: Path, path: Path) -> Path:
    """The stamp of the file at ``path``."""
    return root / ".stamps" / (hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12] + ".json")


def make_folder(path: Path) -> None:
    """Make the folder, readable by all whatever the umask is."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)
