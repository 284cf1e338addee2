"""One quantized model on the quantizer: its ID, its files, and how it is published.

The ID is made from the sha256 of source and importance matrix, all of the recipe that reaches the engine, and the
engine's commit. The model is ``root/NAME/ID.gguf``; it is finished when its manifest ``ID.json`` exists. The link
``root/NAME/RECIPE.json`` names the manifest of the model in use.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import names, point, write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id, sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import read_stamp, stamped_sha256
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import Forecast, read_gguf
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix_store import known_legacy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import (
    Recipe,
    differences,
    effective,
    quantize_argv,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import shown
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import part_locations
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import JOBS, STAMPS, make_folder, stamp_path

SHOWN = 20  # of the tensors that differ


class ModelError(Exception):
    """The model cannot be made or published; ``argument`` names the option to change, ``code`` what is wrong."""

    def __init__(self, argument: str, text: str, code: str) -> None:
        super().__init__(text)
        self.argument = argument
        self.code = code


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest, empty where there is none or half of one. Until version 0.1 its ``id`` was called ``key``."""
    manifest: dict[str, Any] = read_json(path, {})
    if "key" in manifest:
        manifest["id"] = manifest.pop("key")
    return manifest


def current_release(engine_root: Path) -> dict[str, str]:
    """Return ``commit`` and ``id`` of the quantizer's engine release in use, empty where there is none."""
    found: dict[str, Any] = read_json(engine_root / "current" / "release.json", {})
    release_id = found.get("id") or found.get("key")  # its name until version 0.1
    return {"commit": found["commit"], "id": release_id} if release_id and found.get("commit") else {}


def in_use(folder: Path, recipe_name: str) -> dict[str, Any]:
    """Return the manifest that a new model is compared with: of this recipe, or else the newest of any."""
    pointers = [path for path in folder.glob("*.json") if path.is_symlink()]
    pointers.sort(key=lambda path: path.lstat().st_mtime)
    for pointer in [folder / f"{recipe_name}.json", *reversed(pointers)]:
        manifest = read_manifest(pointer)
        if {"recipe", "size", "groups"} <= set(manifest):
            return manifest
    return {}


def model_id(source: str, imatrix: str | None, recipe: Recipe, commit: str) -> str:
    """Return the model's ID. ``source`` and ``imatrix`` are sha256; the field names must never change."""
    return content_id({"source": source, "imatrix": imatrix, "recipe": effective(recipe), "engine": commit})


def source_sha256(parts: list[tuple[str, str]]) -> str:
    """Return the sha256 of a source, from sha256 and file name of each part: of a single one its own."""
    if len(parts) == 1:
        return parts[0][0]
    return hashlib.sha256("".join(f"{sha256}  {name}\n" for sha256, name in parts).encode()).hexdigest()


class Place:
    """The files of one model in ``root``."""

    def __init__(self, root: Path, name: str, recipe_name: str, model: str) -> None:
        self.root = root
        self.folder = root / name
        self.path = self.folder / f"{model}.gguf"
        self.part = self.folder / f"{model}.gguf.part"
        self.manifest = self.folder / f"{model}.json"
        self.pointer = self.folder / f"{recipe_name}.json"
        # One for all models: only one is quantized at a time.
        self.job = root / JOBS / "quantize"

    def published(self) -> dict[str, Any]:
        """Return the manifest, empty if the model is not finished."""
        manifest = read_manifest(self.manifest)
        complete = self.path.is_file() and self.path.stat().st_size == manifest.get("size")
        return manifest if complete else {}

    def pointed(self) -> bool:
        return names(self.pointer, self.manifest.name)

    def point(self) -> None:
        point(self.pointer, self.manifest.name)


def known_id(
    root: Path,
    source: Mapping[str, Any],
    imatrix: Mapping[str, Any],
    given: Mapping[str, list[str]],
    recipe: Recipe,
    commit: str,
) -> str:
    """Return the model's ID if it is known without reading a large file, empty otherwise. Raises OSError.

    Args:
        root: folder of all models.
        source, imatrix: facts from `remote_source.source_facts`; an empty path is no importance matrix.
        given: what the sha256 of ``source`` (its parts) and ``imatrix`` must be; empty lists where that is not known.
        recipe, commit: what the model is made by.
    """
    if not (commit and source["finished"] and imatrix["finished"]):
        return ""
    paths = [Path(part) for part in part_locations(source["path"])]
    digests = [read_stamp(path, stamp_path(root, path)) or "" for path in paths]
    if not all(digests) or given["source"] not in ([], digests):
        return ""
    matrix = None
    if imatrix["path"]:
        path = Path(imatrix["path"])
        if given["imatrix"] not in ([], [read_stamp(path, stamp_path(root, path))]):
            return ""
        legacy = known_legacy(path, root)
        matrix = read_stamp(legacy, stamp_path(root, legacy)) if legacy else None
        if not matrix:
            return ""
    parts = [(digest, path.name) for digest, path in zip(digests, paths)]
    return model_id(source_sha256(parts), matrix, recipe, commit)


class Model:
    """A model that is to be made from files on this host.

    Args:
        params: options of module `gguf_model`.
        forecast: what it will be.
        release: ``commit`` and ``id`` of the engine.
        keep: whether the sha256 of the sources may be noted in stamps.
    """

    def __init__(self, params: Mapping[str, Any], forecast: Forecast, release: Mapping[str, str], keep: bool) -> None:
        self.params = params
        self.forecast = forecast
        self.root = Path(params["root"])
        self.source = Path(params["source"]).expanduser()
        self.imatrix = Path(params["imatrix"]).expanduser() if params["imatrix"] else None
        source = self._source(keep)
        matrix = self._stamped(self.imatrix, "imatrix", keep) if self.imatrix else None
        self.inputs = {
            "source": {**source, **self._origin("source_from")},
            "imatrix": matrix and {**matrix, **self._origin("imatrix_from")},
            "engine": {"commit": release["commit"], "id": release["id"]},
        }
        self.id = model_id(source["sha256"], matrix["sha256"] if matrix else None, forecast.recipe, release["commit"])
        self.place = Place(self.root, params["name"], params["recipe_name"], self.id)
        for made in (self.place.path, self.place.part):
            if any(Path(part).resolve() == made.resolve() for part in part_locations(str(self.source))):
                raise ModelError(
                    "source", f"{self.source} is where the model itself would be made. Move it elsewhere.", "place"
                )

    def _origin(self, argument: str) -> dict[str, str]:
        """Return where a file was downloaded from, without what may be secret in a URL."""
        return {"from": shown(self.params[argument])} if self.params[argument] else {}

    def _source(self, keep: bool) -> dict[str, Any]:
        """Return file, size and sha256 of the source; of several parts the first file, and those of all together."""
        paths = [Path(part) for part in part_locations(str(self.source))]
        wanted = [sha256.lower() for sha256 in self.params["source_sha256"]]
        if wanted and len(wanted) != len(paths):
            raise ModelError(
                "source_sha256", f"{self.source} has {len(paths)} parts. Give a sha256 for each, or none.", "count"
            )
        parts = [self._stamped(path, "source", keep) for path in paths]
        for path, part, sha256 in zip(paths, parts, wanted):
            if part["sha256"] != sha256:
                raise ModelError(
                    "source_sha256",
                    f"{path}: checksum mismatch: expected {sha256}, got {part['sha256']}. Download it again, or "
                    "correct the sha256.",
                    "sum",
                )
        if len(parts) == 1:
            return parts[0]
        return {
            "sha256": source_sha256([(part["sha256"], part["file"]) for part in parts]),
            "size": sum(part["size"] for part in parts),
            "file": parts[0]["file"],
            "parts": parts,
        }

    def _stamped(self, path: Path, argument: str, keep: bool) -> dict[str, Any]:
        try:
            if keep:
                make_folder(self.root / STAMPS)
            sha256, _read = stamped_sha256(path, stamp_path(self.root, path), keep)
            return {"sha256": sha256, "size": path.stat().st_size, "file": path.name}
        except OSError as error:
            raise ModelError(argument, str(error), "file") from None

    def argv(self) -> tuple[list[str], str]:
        """Return the command, and where it runs: in the matrix's folder, so that the file names no path of it."""
        program = Path(self.params["engine_root"], "current", "bin", "llama-quantize").resolve()
        if not os.access(program, os.X_OK):
            raise ModelError(
                "engine_root",
                f"{program} does not exist. Add llama-quantize to ik_llama_build_targets and run playbooks/build.yml.",
                "program",
            )
        command = quantize_argv(
            self.forecast.recipe,
            str(program),
            str(self.source.absolute()),
            str(self.place.part.absolute()),
            self.imatrix.name if self.imatrix else "",
            self.params["threads"],
        )
        return command, str((self.imatrix or self.source).absolute().parent)

    def made(self) -> bool:
        """Return whether this very command has succeeded in an earlier run that did not publish its result."""
        part, job_folder = self.place.part, self.place.job
        job: dict[str, Any] = read_json(job_folder / "job.json", {})
        ended: dict[str, Any] = read_json(job_folder / "exit.json", {})
        return (
            part.is_file()
            and ended.get("rc") == 0
            and "id" in job
            and ended.get("id") == job["id"]
            and self.argv() == (job.get("argv"), job.get("chdir"))
            and not locked(str(job_folder))
            and part.stat().st_mtime >= job.get("started", float("inf"))
        )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other run on this host publishes a model or prepares one, and keep others waiting."""
        make_folder(self.place.job)
        with (self.place.job / "publish.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def clear(self) -> None:
        """Remove what earlier attempts have left unfinished, unless a command runs.

        The result of a command that has succeeded stays: whoever started it may be about to publish it.
        """
        folder = self.place.job
        if locked(str(folder)):
            return
        job: dict[str, Any] = read_json(folder / "job.json", {})
        ended: dict[str, Any] = read_json(folder / "exit.json", {})
        succeeded = ended.get("rc") == 0 and ended.get("id") == job.get("id")
        for part in self.root.glob("*/*.gguf.part"):
            if part != self.place.part and not (succeeded and str(part.absolute()) in job.get("argv", [])):
                part.unlink()

    def publish(self) -> dict[str, Any]:
        """Compare the result with the forecast, then rename it, write the manifest, and move the pointer."""
        part = self.place.part
        if not part.exists():
            raise ModelError(
                "source",
                f"{part} does not exist: source, recipe or engine changed during the run. Run again.",
                "part",
            )
        size = part.stat().st_size
        self._check(part, size)
        part.chmod(0o644)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        facts = self.forecast.facts
        manifest = {
            "format": 1,
            "name": self.params["name"],
            "recipe": self.params["recipe_name"],
            "id": self.id,
            "file": self.place.path.name,
            "size": size,
            "sha256": sha256_file(part),
            "quantized": effective(self.forecast.recipe),
            **self.inputs,
            **{name: facts[name] for name in ("architecture", "hparams", "tensor_bytes", "types", "groups")},
        }
        self.place.manifest.unlink(missing_ok=True)
        part.replace(self.place.path)
        write_file(self.place.manifest, json.dumps(manifest, indent=1) + "\n")
        self.place.point()
        return manifest

    def _check(self, part: Path, size: int) -> None:
        """Raise ModelError, and remove the file, where it is not what was forecast."""
        code = "differs"
        try:
            wrong = differences(self.forecast.prediction, read_gguf(part), size)
        except GGUFError as error:
            wrong, code = [str(error)], error.code
        if not wrong:
            return
        part.unlink()
        more = f"\nand {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ModelError(
            "recipe",
            "the engine does not follow the recipe:\n"
            + "\n".join(wrong[:SHOWN])
            + more
            + "\nIf the engine does so on purpose, state it in the recipe under 'engine'. The file was removed, and "
            "nothing was published.",
            code,
        )
