"""The quantizer's folder of models (``root``): its contents, and how they are removed.

``NAME/ID.gguf``, ``NAME/ID.json``: a model and its manifest. ``NAME/RECIPE.json``: a link to the manifest in use.
``.sources/<sha256, 12 digits>/NAME``: what was downloaded or converted, in a folder named by its content.
``.stamps/<path's sha256, 12 digits>.json``: the sha256 of large files, see common/stamp.py.
``.jobs/``: state and logs of downloads, of quantizing and of evaluations.
``NAME/ID.evaluation.json``: what was measured of a model; no part of its manifest, which never changes.
``.evaluations/<ID>/``: the source's logits that models are compared with, see evaluation_steps.py.
``.imatrices/<ID>/``: importance matrices that were made here, see calibration.py.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked

JOBS, SOURCES, STAMPS = ".jobs", ".sources", ".stamps"
EVALUATIONS, IMATRICES = ".evaluations", ".imatrices"
_MODEL_FILE = re.compile(r"[0-9a-f]{12}\.(gguf|gguf\.part|json|evaluation\.json)")
_MANIFEST = re.compile(r"[0-9a-f]{12}\.json")
#: Left by a write that was interrupted, see common/atomic.py.
_NEW_FILE = re.compile(r"\..+\.json\.new")


def fetched_folder(root: Path, sha256: str) -> Path:
    """Return the folder of a file with this sha256."""
    return root / SOURCES / sha256[:12]


def stamp_path(root: Path, path: Path) -> Path:
    """Return the stamp of the file at ``path``."""
    return root / STAMPS / (hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12] + ".json")


def make_folder(path: Path) -> None:
    """Create the folder, readable by all whatever the umask is."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)


class Contents(NamedTuple):
    """What of a root folder the project made, and what else is in it."""

    ours: list[Path]
    kept: list[Path]
    size: int


def running_jobs(root: Path) -> list[str]:
    """Return the names of downloads, of quantizing and of evaluations that run on this host now."""
    return sorted(job.name for job in (root / JOBS).glob("*") if locked(str(job)))


def _is_ours(path: Path) -> bool:
    """Return whether a file in the folder of a model was made by the project."""
    if path.is_symlink():
        return path.suffix == ".json" and _MANIFEST.fullmatch(str(path.readlink())) is not None
    return _MODEL_FILE.fullmatch(path.name) is not None or _NEW_FILE.fullmatch(path.name) is not None


def pruned(root: Path, paths: list[Path]) -> Contents:
    """Return these paths, with the stamps of the models among them, as what is to be removed."""
    stamps = [stamp for path in paths if (stamp := stamp_path(root, path)).is_file()]
    found = [*paths, *stamps]
    return Contents(found, [], sum(map(_size, found)))


def contents(root: Path) -> Contents:
    """Return what is in ``root``: files and folders of the project, all others, and the bytes of the former."""
    folders = (JOBS, SOURCES, STAMPS, EVALUATIONS, IMATRICES)
    ours = [root / name for name in folders if (root / name).is_dir()]
    kept: list[Path] = []
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        if entry in ours:
            continue
        if entry.is_symlink() or not entry.is_dir():
            kept.append(entry)
            continue
        for path in sorted(entry.iterdir()):
            (ours if _is_ours(path) else kept).append(path)
    return Contents(ours, kept, sum(map(_size, ours)))


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_symlink() or file.is_file())


def unused(root: Path, name: str, wanted: str, keep: int, used: Iterable[Path]) -> list[Path]:
    """Return what need not be kept: older models of a name, what is left of others, and older sources.

    Args:
        name: of the models.
        wanted: ID of the model that stays in any case, and may be unfinished.
        keep: how many models stay, and how many folders of sources, the newest ones.
        used: source and importance matrix of the wanted model, which stay in any case.
    """
    folder = root / name
    files = [path for path in folder.glob("*") if not path.is_symlink() and _MODEL_FILE.fullmatch(path.name)]
    finished = sorted((path for path in files if _MANIFEST.fullmatch(path.name)), key=_age)
    ids = {wanted, *[path.stem for path in finished if path.stem != wanted][: max(0, keep - 1)]}
    models = [path for path in files if path.name.split(".")[0] not in ids]
    links = [path for path in folder.glob("*.json") if path.is_symlink() and path.parent / path.readlink() in models]
    in_use = {path.parent for path in used}
    sources = sorted((path for path in (root / SOURCES).glob("*") if path.is_dir()), key=_age)
    others = [path for path in sources if path not in in_use]
    return [*links, *models, *others[max(0, keep - len(in_use & set(sources))) :]]


def _age(path: Path) -> float:
    return -path.lstat().st_mtime


def remove_contents(root: Path, found: Contents) -> None:
    """Remove what the project made, and the folders that are empty then. Links go first: they name what is in use."""
    for path in sorted(found.ours, key=lambda path: (not path.is_symlink(), path.suffix != ".json")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for folder in [*sorted({path.parent for path in found.ours} - {root}), root]:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
