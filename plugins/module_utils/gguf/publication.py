"""Publications of models: folders that are ready to be uploaded, made once and never changed.

``FOLDER/.publications/ID/``: a model with its texts and ``SHA256SUMS``. ``FOLDER/NAME``: a link to the one in use. The
GGUF file is a hard link to the quantizer's, so that it takes no room.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import names, point, settle, write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id, sha256_file, sha256_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import existing_parent
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation_steps import all_figures
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model import Place, read_manifest

PUBLICATIONS, SUMS = ".publications", "SHA256SUMS"
UPLOAD = ".upload"  # files of the program that uploads


class PublicationError(Exception):
    """The model cannot be published; ``argument`` names the option to change, ``code`` what is wrong."""

    def __init__(self, argument: str, text: str, code: str) -> None:
        super().__init__(text)
        self.argument = argument
        self.code = code


class Sources(NamedTuple):
    """A finished model on the quantizer: its manifest, its file, and figures by the ID of their evaluation."""

    manifest: dict[str, Any]
    path: Path
    evaluations: dict[str, Any]


def find_model(root: Path, name: str, recipe_name: str, folder: Path) -> Sources:
    """Return the model in use of a recipe. Raises PublicationError where there is none, or ``folder`` is elsewhere."""
    pointer = root / name / f"{recipe_name}.json"
    place = Place(root, name, recipe_name, read_manifest(pointer).get("id", ""))
    manifest = place.published()
    if not manifest:
        raise PublicationError(
            "recipe", f"{pointer} names no finished model. Run playbooks/quantize.yml first.", "model"
        )
    if folder.exists() and not folder.is_dir():
        raise PublicationError("folder", f"{folder} is not a folder.", "folder")
    if existing_parent(folder).stat().st_dev != place.path.stat().st_dev:
        text = f"{folder} is not on the file system of {place.path.parent}. Name a folder that is."
        raise PublicationError("folder", text, "device")
    return Sources(manifest, place.path, all_figures(place.path))


class Publication:
    """One publication.

    Args:
        folder: of all publications.
        name: of this one, and of its GGUF file.
        model: manifest and file of the model.
        texts: the other files, content by name.
    """

    def __init__(self, folder: Path, name: str, model: Sources, texts: Mapping[str, str]) -> None:
        self.folder = folder
        self.model = model
        self.file = f"{name}.gguf"
        self.texts = {**texts, SUMS: self._sums(texts)}
        self.id = content_id({"name": name, "texts": self.texts})
        self.place = folder / PUBLICATIONS / self.id
        self.link = folder / name

    def _sums(self, texts: Mapping[str, str]) -> str:
        """Return what ``sha256sum --check`` reads."""
        sums = {self.file: self.model.manifest["sha256"], **{name: sha256_text(text) for name, text in texts.items()}}
        return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items()))

    @property
    def target(self) -> str:
        return f"{PUBLICATIONS}/{self.id}"

    def _made(self) -> bool:
        made = self.place / self.file
        return made.is_file() and made.stat().st_size == self.model.manifest["size"]

    def finished(self) -> bool:
        """Return whether it is there and in use. Its folder gets its name last."""
        return self._made() and names(self.link, self.target)

    def before(self) -> dict[str, str]:
        """Return the texts of the publication in use, empty ones where there is none."""
        found = {name: self.link / name for name in self.texts}
        return {name: path.read_text() if path.is_file() else "" for name, path in found.items()}

    def publish(self) -> None:
        """Make the folder, move the link, and remove publications that no link names. Raises PublicationError."""
        if self.link.exists() and not self.link.is_symlink():
            raise PublicationError("folder", f"{self.link} is there, and is no link of ours. Move it away.", "folder")
        if not self._made():
            self._make()
        point(self.link, self.target)
        used = {os.readlink(link) for link in self.folder.iterdir() if link.is_symlink()}
        for old in (self.folder / PUBLICATIONS).iterdir():
            if f"{PUBLICATIONS}/{old.name}" not in used:
                shutil.rmtree(old)

    def _make(self) -> None:
        found = sha256_file(self.model.path)
        if found != self.model.manifest["sha256"]:
            text = (
                f"{self.model.path}: checksum mismatch: expected {self.model.manifest['sha256']}, got {found}. Remove "
                "it and run playbooks/quantize.yml again."
            )
            raise PublicationError("recipe", text, "sum")
        new = self.place.with_name(f".{self.id}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        new.chmod(0o755)
        os.link(self.model.path, new / self.file)
        for name, text in self.texts.items():
            write_file(new / name, text)
        settle(new)
        shutil.rmtree(self.place, ignore_errors=True)
        new.rename(self.place)
        settle(self.place.parent)


def ours(folder: Path) -> list[Path]:
    """Return all that the project made in the folder of publications, links first."""
    links = [path for path in folder.glob("*") if path.is_symlink()]
    made = [path for path in links if os.readlink(path).startswith(f"{PUBLICATIONS}/")]
    return [*made, *(folder / name for name in (PUBLICATIONS, UPLOAD) if (folder / name).is_dir())]


def remove(folder: Path) -> None:
    """Remove what the project made, and the folder if nothing else is in it."""
    for path in ours(folder):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
