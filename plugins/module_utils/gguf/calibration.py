"""An importance matrix of a user's own text, by ``llama-imatrix`` of ik_llama.cpp, and what is known of it.

``root/.imatrices/ID/imatrix.dat`` is whole when ``imatrix.json`` is there. The program saves its sums only at its end
here: each save puts ones where experts have no data yet, and these ones stay in the sums.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id, sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.coverage import entries_lacking, experts_of
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import (
    EvaluationError,
    FiguresError,
    base_figures,
    computed_chunks,
    expected_seconds,
    most_chunks,
    weights_per_token,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import (
    Imatrix,
    ImatrixError,
    entries_without_data,
    experts_without_data,
    read_imatrix,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.measuring import (
    Job,
    check_numbers,
    check_room,
    cores,
    find_program,
    find_source,
    memory_bytes,
    needed_program,
    read_source_text,
    release_in_use,
    with_sha256,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import IMATRICES, make_folder

PROGRAM = "llama-imatrix"
#: More calls than any text has.
NEVER = 2**31 - 1
_PARTIAL = re.compile(r"entry '\s*(\S+)' has partial data \([\d.]+%\) (\d+) out of (\d+) experts are missing data")
_NONE = re.compile(r"entry '\s*(\S+)' has no data")


def imatrix_id(source: str, text: str, context: int, chunks: int, commit: str) -> str:
    """Return the ID of an importance matrix. ``source`` and ``text`` are sha256; the field names must never change."""
    fields = {"source": source, "text": text, "context": context, "chunks": chunks, "engine": commit}
    return content_id({"imatrix": fields})


def coverage(source: Header, matrix: Imatrix, empty: Mapping[str, int], output: str) -> dict[str, Any]:
    """Return which tensors of the source, and which of their experts, an importance matrix has data for.

    Args:
        source: header of the model.
        matrix: what was read of the importance matrix; entries of nothing but zeros are not among its ``lengths``.
        empty: experts without data by entry, from `experts_without_data`.
        output: of llama-imatrix. Of entries that it left out only it knows how many experts had data.

    Returns:
        `tensors` (that can use an entry), `lacking` (names of those without one), `experts` (by kind of tensor:
        `experts` in all layers together, and how many of them are `without_data`).
    """
    lengths = matrix.lengths or {}
    tensors, lacking = entries_lacking(source, lengths)
    said = {name: int(missing) for name, missing, _of in _PARTIAL.findall(output)}
    kinds: dict[str, dict[str, int]] = {}
    counts = experts_of(source)
    seen = {*lengths, *said, *_NONE.findall(output)}
    for name, experts in counts.items():
        up = name.replace(".ffn_gate_exps.", ".ffn_up_exps.")
        if name not in seen and (name not in lacking or (up != name and up in counts)):
            continue  # its up counts for both
        kind = re.sub(r"^blk\.\d+\.|\.weight$", "", name)
        row = kinds.setdefault(kind, {"experts": 0, "without_data": 0})
        row["experts"] += experts
        row["without_data"] += empty.get(name, 0) if name in lengths else said.get(name, experts)
    return {"tensors": tensors, "lacking": lacking, "experts": kinds}


def coverage_warnings(found: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of a matrix that does not cover all of the model."""
    warnings = []
    if found["lacking"]:
        warnings.append(
            f"no entry for {len(found['lacking'])} of {found['tensors']} tensors that can use one, "
            f"{found['lacking'][0]} being the first. A longer and more varied text reaches more experts"
        )
    for kind, row in found["experts"].items():
        if row["without_data"]:
            warnings.append(
                f"{row['without_data']} of {row['experts']} experts of {kind} saw no token of the text. A longer and "
                "more varied text reaches more of them"
            )
    return warnings


class Place:
    """The files of one importance matrix."""

    def __init__(self, root: Path, identifier: str) -> None:
        self.folder = root / IMATRICES / identifier
        self.path = self.folder / "imatrix.dat"
        self.part = self.folder / "imatrix.dat.part"
        self.manifest = self.folder / "imatrix.json"

    def published(self) -> dict[str, Any]:
        """Return the manifest, empty if the matrix is not whole."""
        manifest: dict[str, Any] = read_json(self.manifest, {})
        whole = self.path.is_file() and self.path.stat().st_size == manifest.get("size")
        return manifest if whole else {}


def matrix_bytes(source: Header) -> int:
    """Return about how large an importance matrix is: 32 bits for each column of each tensor, or expert of it."""
    experts = experts_of(source)
    return sum(4 * t.shape[0] * experts.get(t.name, 1) + 64 for t in source.tensors if t.dimensions > 1)


def calibration_facts(params: Mapping[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
    """Return whether the importance matrix is there, and what it takes to make it. Changes nothing.

    Raises EvaluationError, ServerBusy and OSError.
    """
    root, engine_root = Path(params["root"]), Path(params["engine_root"])
    check_numbers(params)
    text = read_source_text(params)
    source = find_source(params, warn)
    release = release_in_use(engine_root)
    context, chunks = params["context"], most_chunks(text.size, params["context"], params["chunks"])
    identifier = ""
    if source.sha256:
        identifier = imatrix_id(source.sha256, text.sha256, context, params["chunks"], release["commit"])
    place = Place(root, identifier or "unknown")
    manifest = place.published()
    need = 0 if manifest else matrix_bytes(source.header)
    if need:
        check_room(root / IMATRICES, need, "root")
    weights = weights_per_token(source.header, source.hparams)
    pace = (weights, source.size, context, chunks, cores(params["threads"]), memory_bytes())
    return {
        "id": identifier,
        "path": str(place.path),
        "manifest": manifest,
        "text": text.facts(),
        "source": source.facts(),
        "engine": release,
        "program": str(find_program(engine_root, release["commit"], PROGRAM) or ""),
        "chunks": chunks,
        "bytes": need,
        "seconds": 0 if manifest else expected_seconds(*pace),
    }


class Calibration:
    """The making of one importance matrix on this host. Raises EvaluationError and OSError."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = params
        self.root = Path(params["root"])
        check_numbers(params)
        self.text = read_source_text(params)
        self.source = with_sha256(find_source(params, None), self.root)
        self.release = release_in_use(Path(params["engine_root"]))
        self.id = imatrix_id(
            self.source.sha256, self.text.sha256, params["context"], params["chunks"], self.release["commit"]
        )
        self.place = Place(self.root, self.id)
        self.job = Job(self.root, "imatrix")

    def argv(self) -> list[str]:
        """Return the command. It runs in the text's folder, so that the file names no path of this host."""
        program = needed_program(Path(self.params["engine_root"]), self.release["commit"], PROGRAM)
        context = str(self.params["context"])
        argv = [str(program), "--log-disable", "--model", str(self.source.path), "--file", self.text.path.name]
        argv += ["--output", str(self.place.part.absolute()), "--output-frequency", str(NEVER)]
        argv += ["--ctx-size", context, "--batch-size", context]
        argv += ["--chunks", str(self.params["chunks"])] if self.params["chunks"] else []
        return argv + (["--threads", str(self.params["threads"])] if self.params["threads"] else [])

    def steps(self) -> int:
        return most_chunks(self.text.size, self.params["context"], self.params["chunks"])

    def prepare(self) -> bool:
        """Make room for the result. Return whether the command must run."""
        if self.job.made(self.argv(), self.place.part):
            return False
        self.job.clear(sorted((self.root / IMATRICES).glob("*/*.part")))
        check_room(self.root / IMATRICES, matrix_bytes(self.source.header), "root")
        make_folder(self.place.folder)
        return True

    def publish(self) -> dict[str, Any]:
        """Check what the command has left, and publish it. What is wrong is removed, and made again next time."""
        ended = self.job.ended(self.argv())
        if not ended:
            raise EvaluationError(
                "text", "text, source, options or engine changed during the run. Run again", "changed"
            )
        try:
            return self._publish(ended)
        except EvaluationError:
            self.job.forget()
            self.place.part.unlink(missing_ok=True)
            raise

    def _publish(self, ended: Mapping[str, Any]) -> dict[str, Any]:
        output, part = self.job.output(), self.place.part
        log = f"{self.job.last_lines()}\nThe whole log is {self.job.folder}/log"
        try:
            perplexity = base_figures(output)
        except FiguresError as error:
            if error.code == "short":
                raise EvaluationError(
                    "text",
                    f"{self.text.path}: {error}, and two chunks of {self.params['context']} are needed. Take a longer "
                    "text, or a shorter context",
                    "short",
                ) from None
            raise EvaluationError("source", f"{PROGRAM}, code {ended['rc']}: {error}:\n{log}", error.code) from None
        if ended["rc"] != 0:
            raise EvaluationError("source", f"{PROGRAM} ended with code {ended['rc']}:\n{log}", "ended")
        try:
            size = part.stat().st_size
            with part.open("rb") as file:
                matrix = read_imatrix(file, size)
                lengths = dict(matrix.lengths or {})
                for name in entries_without_data(file, size):
                    del lengths[name]
                empty = experts_without_data(file, size, experts_of(self.source.header))
        except FileNotFoundError:
            raise EvaluationError("source", f"{PROGRAM} wrote no file:\n{log}", "missing") from None
        except ImatrixError as error:
            raise EvaluationError(
                "root", f"{part}: {error}. The disk may be full; make room, and run again", error.code
            ) from None
        covered = coverage(self.source.header, matrix._replace(lengths=lengths), empty, output)
        manifest = {
            "format": 1,
            "id": self.id,
            "file": self.place.path.name,
            "size": size,
            "sha256": sha256_file(part),
            "entries": matrix.entries,
            "context": self.params["context"],
            "chunks": computed_chunks(output),
            "perplexity": perplexity,
            "coverage": covered,
            "source": {"file": self.source.path.name, "size": self.source.size, "sha256": self.source.sha256},
            "text": {"file": self.text.path.name, "size": self.text.size, "sha256": self.text.sha256},
            "engine": self.release,
            "seconds": ended["seconds"],
            "cpu_seconds": ended["cpu_seconds"],
        }
        self.place.manifest.unlink(missing_ok=True)
        part.chmod(0o644)
        part.replace(self.place.path)
        write_file(self.place.manifest, json.dumps(manifest, indent=1) + "\n")
        return manifest


def calibration_result(params: Mapping[str, Any], check: bool, warn: Callable[[str], None]) -> dict[str, Any]:
    """Prepare or publish an importance matrix, as ``state`` says, and return the module's result.

    Raises EvaluationError and OSError.
    """
    if check:
        return {"changed": True, "id": "", "path": "", "finished": False, "manifest": {}}
    calibration = Calibration(params)
    with calibration.job.alone():
        manifest = calibration.place.published()
        changed = not manifest
        if not manifest and params["state"] == "published":
            manifest = calibration.publish()
        for warning in coverage_warnings(manifest["coverage"]) if manifest else ():
            warn(f"importance matrix: {warning}.")
        result: dict[str, Any] = {
            "changed": changed,
            "id": calibration.id,
            "path": str(calibration.place.path),
            "finished": bool(manifest),
            "manifest": manifest,
        }
        if not manifest and calibration.prepare():
            result["argv"] = calibration.argv()
            result["chdir"] = str(calibration.text.path.parent)
            result["steps"] = calibration.steps()
            result["job"] = str(calibration.job.folder)
        return result
