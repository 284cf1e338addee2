"""Models on a board: ``folder/NAME/DIGEST.gguf``, DIGEST being the first 12 digits of the file's sha256.

A model is finished when its manifest ``DIGEST.json`` exists and a stamp confirms the file. The links ``current.gguf``
and ``current.json`` name the model that the next deployment uses.

A model is received in ``.DIGEST.incoming/``, which belongs to the account that Ansible logs in as; all else is root's.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import names, point, write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_file, sha256_of
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import free_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import read_stamp, write_stamp
from ansible_collections.ik_llama.pi.plugins.module_utils.common.takeover import (
    TakeoverError,
    has_writer,
    own_folder,
    take_over,
)

#: Root writes it, the service reads it.
MODE = 0o644
#: Options of modules that are about one model on a board.
PLACE_OPTIONS: dict[str, Any] = {
    "folder": {"type": "path", "required": True},
    "sha256": {"type": "str", "required": True},
    "size": {"type": "int", "required": True},
}


class Placement:
    """The place of one model in ``folder``; ``size`` in bytes."""

    def __init__(self, folder: Path, sha256: str, size: int) -> None:
        digest = sha256[:12]
        self.sha256 = sha256
        self.size = size
        self.path = folder / f"{digest}.gguf"
        self.incoming = folder / f".{digest}.incoming"
        self.part = self.incoming / f"{digest}.gguf.part"
        #: Where version 0.1 received it, and where it is verified now.
        self.taken = folder / f"{digest}.gguf.part"
        self.manifest = folder / f"{digest}.json"
        self.stamp = folder / f"{digest}.gguf.stamp"
        self.pointers = {folder / "current.gguf": self.path.name, folder / "current.json": self.manifest.name}

    def finished(self) -> bool:
        """Return whether the model is complete. A file that its stamp does not confirm is read once more."""
        return self.manifest.exists() and self.complete()

    def complete(self) -> bool:
        """Return whether the file is what it should be, with or without its manifest."""
        if not self.path.exists() or self.path.stat().st_size != self.size:
            return False
        return (read_stamp(self.path, self.stamp) or sha256_file(self.path)) == self.sha256

    def pointed(self) -> bool:
        """Return whether the pointers name it and the service can read it."""
        readable = self.path.exists() and self.path.stat().st_mode & 0o777 == MODE
        return readable and all(names(link, target) for link, target in self.pointers.items())

    def missing_bytes(self) -> int:
        received = max((path.stat().st_size for path in (self.part, self.taken) if path.exists()), default=0)
        return max(0, self.size - received)

    def receive(self, owner: int) -> None:
        """Create the folder in which the account `owner` (a user ID) receives the model, or continues to."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        own_folder(self.incoming, owner)
        if self.taken.exists():  # a copy that was interrupted before it was verified
            os.chown(self.taken, owner, -1, follow_symlinks=False)
            self.taken.replace(self.part)

    def facts(self) -> dict[str, Any]:
        """Return what modules return of it."""
        complete = self.complete()
        return {
            "path": str(self.path),
            "part": str(self.part),
            "complete": complete,
            "finished": complete and self.manifest.exists(),
            "pointed": self.pointed(),
            "missing_bytes": 0 if complete else self.missing_bytes(),
            "free_bytes": free_bytes(self.path.parent),
        }

    def accept(self, owner: int) -> str:
        """Take over what the account `owner` (a user ID) has received, verify it, and give it its name.

        Return what is wrong, empty if nothing is. Two controllers may copy the same model: one of them finds that the
        other has renamed it.
        """
        try:
            problem = self.accept_part(owner)
        except FileNotFoundError:
            problem = f"{self.part} does not exist: nothing was received"
        except TakeoverError as error:
            problem = str(error)
        return "" if problem and not self.part.exists() and self.complete() else problem

    def accept_part(self, owner: int) -> str:
        """Do the same for one controller. Raises FileNotFoundError if there is no part, or no longer one."""
        received = self.part.lstat().st_size
        if received < self.size:
            return f"only {received} of {self.size} bytes were received. Run again to resume."
        with os.fdopen(take_over(self.part, owner, self.taken), "rb") as file:
            found = sha256_of(file)
            if found != self.sha256:
                self.taken.unlink()
                return (
                    f"checksum mismatch: expected {self.sha256}, got {found}. Run again. The received file was removed."
                )
            os.fsync(file.fileno())
        self.taken.replace(self.path)
        self.clear()
        return ""

    def clear(self) -> None:
        """Remove the folder in which the model was received, with what else may be in it."""
        shutil.rmtree(self.incoming, ignore_errors=True)

    def publish(self, manifest: Mapping[str, Any]) -> None:
        """Write the stamp, then the manifest, then the pointers: each confirms all before it."""
        self.path.chmod(MODE)
        if read_stamp(self.path, self.stamp) is None:
            write_stamp(self.path, self.stamp, self.sha256)
        text = json.dumps(manifest, indent=2) + "\n"
        if read_text(self.manifest) != text:
            write_file(self.manifest, text)
        for link, target in self.pointers.items():
            point(link, target)


def unused_models(folder: Path, users: Iterable[str]) -> list[Path]:
    """Return the models below `folder` to which no link leads; none if the links lead to no model at all.

    Args:
        folder: folder of all models.
        users: patterns of links, as glob(7) has them.
    """
    models = [path for path in sorted(folder.glob("*/*.gguf")) if re.fullmatch(r"[0-9a-f]{12}\.gguf", path.name)]
    used = {os.path.realpath(link) for pattern in users for link in glob.glob(pattern)}
    unused = [path for path in models if os.path.realpath(path) not in used]
    return unused if len(unused) < len(models) else []


def abandoned(folder: Path) -> list[Path]:
    """Return the folders in which copies ended before their model was complete, and that nobody writes into now."""
    return [path for path in sorted(folder.glob("*/.*.incoming")) if _OURS.fullmatch(path.name) and not _written(path)]


def _written(folder: Path) -> bool:
    for path in folder.iterdir():
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if has_writer(file):
                return True
        finally:
            os.close(file)
    return False


#: What this module and its like write into a folder of models; all else there is somebody else's.
_OURS = re.compile(r"[0-9a-f]{12}\.(gguf|gguf\.part|gguf\.stamp|json)|current\.(gguf|json)|\.[0-9a-f]{12}\.incoming")


def our_files(folder: Path) -> list[Path]:
    """Return what is ours in the folders of models below `folder`, those of the pointers first: they use the rest."""
    found = [path for path in sorted(folder.glob("*/*")) if _OURS.fullmatch(path.name)]
    return sorted(found, key=lambda path: not path.name.startswith("current."))


def remove_all(folder: Path) -> list[Path]:
    """Remove all models, and the folders that are empty then. Return what is left there, which is not ours.

    A folder on which a disk is mounted stays.
    """
    found = our_files(folder)
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for each in [*{path.parent for path in found}, folder]:
        with contextlib.suppress(OSError):
            each.rmdir()
    return sorted(path for path in folder.glob("*") if path.name != "lost+found")


def remove_model(path: Path) -> None:
    """Remove a model. Its manifest goes first: without it the model is not finished."""
    for each in (path.with_suffix(".json"), path, path.with_name(f"{path.name}.stamp")):
        each.unlink(missing_ok=True)
