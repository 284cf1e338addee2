"""What the modules `gguf_evaluate_info` and `gguf_evaluation` do: look up what was measured, prepare, publish.

``root/.evaluations/ID/logits.bin``: log-probabilities of the source for a text; whole when ``logits.json`` is there.
``root/NAME/MODEL.evaluation.json``: figures of a model, by the ID of the evaluation. It is written again for each new
one, in one step; the model's manifest never changes, because its bytes are compared when the model is copied.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import (
    LEAST_TOKENS,
    EvaluationError,
    FiguresError,
    LogitsHeader,
    base_figures,
    compared_tokens,
    evaluation_id,
    expected_seconds,
    logits_bytes,
    model_figures,
    most_chunks,
    read_logits_header,
    weights_per_token,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.measuring import (
    Job,
    Source,
    Text,
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
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model import Place, read_manifest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import EVALUATIONS, make_folder

PROGRAM = "llama-perplexity"


def clear(root: Path) -> None:
    """Remove logits that are not whole, unless they are being written: they may have filled the disk."""
    Job(root, "evaluate").clear(sorted((root / EVALUATIONS).glob("*/*.part")))


class Logits:
    """The logits of one evaluation."""

    def __init__(self, root: Path, evaluation: str) -> None:
        self.folder = root / EVALUATIONS / evaluation
        self.path = self.folder / "logits.bin"
        self.part = self.folder / "logits.bin.part"
        self.manifest = self.folder / "logits.json"

    def published(self) -> dict[str, Any]:
        """Return the manifest, empty if the logits are not whole."""
        manifest: dict[str, Any] = read_json(self.manifest, {})
        whole = self.path.is_file() and self.path.stat().st_size == manifest.get("bytes")
        return manifest if whole else {}


def figures_path(model: Path) -> Path:
    """Return where the figures of a model are."""
    return model.with_name(f"{model.stem}.evaluation.json")


def all_figures(model: Path) -> dict[str, Any]:
    """Return what was measured of a model, by the ID of the evaluation."""
    content: dict[str, Any] = read_json(figures_path(model), {})
    found = content.get("evaluations")
    return found if isinstance(found, dict) else {}


def figures_of(model: Path, evaluation: str) -> dict[str, Any]:
    """Return what was measured of a model in one evaluation, empty for nothing."""
    entry = all_figures(model).get(evaluation)
    return entry if isinstance(entry, dict) else {}


def finished_models(folder: Path, source: str, wanted: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return the models that recipes name, and those that are left out, with the reason.

    Args:
        folder: of all models of a name.
        source: sha256 of the source; empty where it is not known, then models of any source are returned.
        wanted: recipes; empty for all that have a model.

    Raises:
        EvaluationError: where a recipe of ``wanted`` has no model of this source, or there is no model at all.
    """
    pointers = sorted(path for path in folder.glob("*.json") if path.is_symlink())
    models: dict[str, dict[str, Any]] = {}
    left_out = []
    for pointer in pointers:
        recipe = pointer.stem
        if wanted and recipe not in wanted:
            continue
        identifier = str(read_manifest(pointer).get("id", ""))
        place = Place(folder.parent, folder.name, recipe, identifier)
        manifest = place.published() if identifier else {}
        if not manifest:
            left_out.append({"recipe": recipe, "reason": "not finished"})
        elif source and manifest.get("source", {}).get("sha256") != source:
            left_out.append({"recipe": recipe, "reason": "made from another source"})
        else:
            model = models.setdefault(
                identifier,
                {
                    "id": identifier,
                    "recipes": [],
                    "path": str(place.path),
                    "size": manifest["size"],
                    "tensor_bytes": manifest.get("tensor_bytes", manifest["size"]),
                },
            )
            model["recipes"].append(recipe)
    reasons = {entry["recipe"]: entry["reason"] for entry in left_out}
    made = {recipe for model in models.values() for recipe in model["recipes"]}
    for recipe in wanted:
        if recipe not in made:
            known = ", ".join(path.stem for path in pointers) or "none"
            raise EvaluationError(
                "recipes",
                f"{folder} has no model by the recipe {recipe} ({reasons.get(recipe, 'never made')}); there are: "
                f"{known}. Make it with playbooks/quantize.yml, or name others",
                "model",
            )
    if not models:
        raise EvaluationError(
            "name", f"{folder} has no finished model of this source. Run playbooks/quantize.yml first", "model"
        )
    return list(models.values()), left_out


def evaluation_facts(params: Mapping[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
    """Return what would be measured and what was, and what it takes. Changes nothing, reads no large file.

    Raises EvaluationError, ServerBusy and OSError.
    """
    root, engine_root = Path(params["root"]), Path(params["engine_root"])
    check_numbers(params)
    text = read_source_text(params)
    source = find_source(params, warn)
    release = release_in_use(engine_root)
    wanted = list(dict.fromkeys(params["recipes"]))
    models, left_out = finished_models(root / params["name"], source.sha256, wanted)
    chunks = most_chunks(text.size, params["context"], params["chunks"])
    if compared_tokens(params["context"], chunks) < LEAST_TOKENS:
        raise EvaluationError(
            "chunks",
            f"of {chunks} chunks of {params['context']} tokens {compared_tokens(params['context'], chunks)} tokens are "
            f"compared, and the engine needs {LEAST_TOKENS}. Take more chunks, a longer context or text",
            "few",
        )
    evaluation = _identify(params, source, text, release["commit"]) if source.sha256 else ""
    logits = Logits(root, evaluation or "unknown")
    manifest = logits.published()
    need = logits_bytes(source.hparams["vocabulary"], params["context"], chunks)
    weights = weights_per_token(source.header, source.hparams)
    machine = (cores(params["threads"]), memory_bytes())

    def seconds(size: int) -> int:
        if manifest.get("seconds"):
            return math.ceil(manifest["seconds"])
        return expected_seconds(weights, size, params["context"], chunks, *machine)

    for model in models:
        model["figures"] = figures_of(Path(model["path"]), evaluation)
        model["seconds"] = 0 if model["figures"] else seconds(model["size"])
    missing = any(not model["figures"] for model in models)
    writes = missing and not manifest
    if writes:
        check_room(root / EVALUATIONS, need, "chunks")
    program = find_program(engine_root, release["commit"], PROGRAM)
    return {
        "id": evaluation,
        "text": text.facts(),
        "source": source.facts(),
        "engine": release,
        "program": str(program or ""),
        "chunks": int(manifest.get("chunks", chunks)),
        "logits": {
            "path": str(logits.path),
            "manifest": manifest,
            "bytes": need if writes else 0,
            "seconds": seconds(source.size) if writes else 0,
        },
        "models": models,
        "left_out": left_out,
    }


def _identify(params: Mapping[str, Any], source: Source, text: Text, commit: str) -> str:
    return evaluation_id(source.sha256, text.sha256, params["context"], params["chunks"], commit)


class Evaluation:
    """One evaluation on this host, of which the source's logits or one model is the subject.

    Raises EvaluationError and OSError.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = params
        self.root = Path(params["root"])
        check_numbers(params)
        self.text = read_source_text(params)
        self.source = with_sha256(find_source(params, None), self.root)
        self.release = release_in_use(Path(params["engine_root"]))
        self.id = _identify(params, self.source, self.text, self.release["commit"])
        self.logits = Logits(self.root, self.id)
        self.job = Job(self.root, "evaluate")
        self.model = self._find_model(params["model"]) if params["model"] else None

    def _find_model(self, identifier: str) -> Path:
        place = Place(self.root, self.params["name"], "", identifier)
        manifest = place.published()
        if not manifest:
            raise EvaluationError("model", f"{place.path} is not finished. Run playbooks/quantize.yml", "model")
        if manifest.get("source", {}).get("sha256") != self.source.sha256:
            raise EvaluationError("source", f"{place.path} was made from another source than this one", "other")
        return place.path

    def argv(self) -> list[str]:
        """Return the command. One chunk at a time: of several, some engines mix the recurrent state."""
        program = needed_program(Path(self.params["engine_root"]), self.release["commit"], PROGRAM)
        context = str(self.params["context"])
        argv = [str(program), "--log-disable", "--model", str(self.model or self.source.path)]
        if self.model:
            argv += ["--kl-divergence", "--kl-divergence-base", str(self.logits.path.absolute())]
        else:
            argv += ["--file", str(self.text.path), "--kl-divergence-base", str(self.logits.part.absolute())]
            if self.params["chunks"]:
                argv += ["--chunks", str(self.params["chunks"])]
        argv += ["--ctx-size", context, "--batch-size", context]
        return argv + (["--threads", str(self.params["threads"])] if self.params["threads"] else [])

    def result(self) -> dict[str, Any]:
        """Return what is there of the subject, empty if it must be measured."""
        return figures_of(self.model, self.id) if self.model else self.logits.published()

    def steps(self) -> int:
        """Return how many chunks the command computes, at most."""
        chunks = int(self.logits.published().get("chunks", 0))
        return chunks or most_chunks(self.text.size, self.params["context"], self.params["chunks"])

    def prepare(self) -> bool:
        """Make room for the result and check that it fits. Return whether the command must run."""
        argv = self.argv()
        if self.model:
            if not self.logits.published():
                raise EvaluationError("text", "the logits of the source are missing. Run again", "logits")
            return self.job.ended(argv).get("rc") != 0
        if self.job.made(argv, self.logits.part):
            return False
        clear(self.root)
        vocabulary = self.source.hparams["vocabulary"]
        check_room(self.root / EVALUATIONS, logits_bytes(vocabulary, self.params["context"], self.steps()), "chunks")
        make_folder(self.logits.folder)
        return True

    def publish(self) -> dict[str, Any]:
        """Check what the command has left, and publish it. What is wrong is removed, and measured again next time."""
        ended = self.job.ended(self.argv())
        if not ended:
            raise EvaluationError(
                "text", "text, source, options or engine changed during the run. Run again", "changed"
            )
        try:
            if ended["rc"] != 0:
                raise EvaluationError(
                    "model" if self.model else "source",
                    f"{PROGRAM} ended with code {ended['rc']}:\n{self.job.last_lines()}\nThe whole log is "
                    f"{self.job.folder}/log",
                    "ended",
                )
            return self._publish_model(ended) if self.model else self._publish_logits(ended)
        except EvaluationError:
            self.job.forget()
            if not self.model:
                self.logits.part.unlink(missing_ok=True)
            raise

    def _publish_logits(self, ended: Mapping[str, Any]) -> dict[str, Any]:
        part = self.logits.part
        try:
            perplexity = base_figures(self.job.output())
        except FiguresError as error:
            raise self._wrong(error) from None
        header = self._whole_logits(part)
        if compared_tokens(header.context, header.chunks) < LEAST_TOKENS:
            raise EvaluationError(
                "text",
                f"{self.text.path} has {header.chunks} chunks of {header.context} tokens, too few for figures. Take a "
                "longer text",
                "short",
            )
        manifest = {
            "format": 1,
            "id": self.id,
            "bytes": header.file_bytes,
            "context": header.context,
            "chunks": header.chunks,
            "vocabulary": header.vocabulary,
            "perplexity": perplexity,
            "source": {"file": self.source.path.name, "size": self.source.size, "sha256": self.source.sha256},
            "text": {"file": self.text.path.name, "size": self.text.size, "sha256": self.text.sha256},
            "engine": self.release,
            "seconds": ended["seconds"],
            "cpu_seconds": ended["cpu_seconds"],
        }
        self.logits.manifest.unlink(missing_ok=True)
        part.chmod(0o644)
        part.replace(self.logits.path)
        write_file(self.logits.manifest, json.dumps(manifest, indent=1) + "\n")
        self.prune()
        return manifest

    def _whole_logits(self, part: Path) -> LogitsHeader:
        """Return the header of logits that are whole. The engine does not notice that a disk is full."""
        try:
            size = part.stat().st_size
            with part.open("rb") as file:
                header = read_logits_header(file)
        except FileNotFoundError:
            raise EvaluationError("source", f"{part} does not exist. Run again", "part") from None
        except FiguresError:
            raise self._cut(size, "their header") from None
        if (header.context, header.vocabulary) != (self.params["context"], self.source.hparams["vocabulary"]):
            raise EvaluationError("source", f"the logits are of another model or context: {header}", "header")
        if size != header.file_bytes:
            raise self._cut(size, f"{header.file_bytes}")
        return header

    def _cut(self, size: int, wanted: str) -> EvaluationError:
        return EvaluationError(
            "root",
            f"the logits have {size} bytes instead of {wanted}: the disk became full, or the program failed. Make room"
            f" in {self.root}, or measure fewer chunks",
            "cut",
        )

    def _wrong(self, error: FiguresError) -> EvaluationError:
        """Return the error for figures that are missing or no numbers."""
        if error.code == "short":
            return EvaluationError(
                "text",
                f"{self.text.path}: {error}, and two chunks of {self.params['context']} are needed. Take a longer "
                "text, or a shorter context",
                "short",
            )
        why = "" if error.code == "nan" else f":\n{self.job.last_lines()}\nThe whole log is {self.job.folder}/log"
        subject = self.model or self.source.path
        cause = " The file is damaged, or the engine computes it wrongly." if error.code == "nan" else ""
        return EvaluationError("model" if self.model else "source", f"{subject}: {error}{why}.{cause}", error.code)

    def _publish_model(self, ended: Mapping[str, Any]) -> dict[str, Any]:
        assert self.model
        try:
            figures = model_figures(self.job.output())
        except FiguresError as error:
            raise self._wrong(error) from None
        logits = self.logits.published()
        entry = {
            **figures,
            **{name: logits[name] for name in ("context", "chunks", "source", "text", "engine")},
            "seconds": ended["seconds"],
            "cpu_seconds": ended["cpu_seconds"],
        }
        content = {
            "format": 1,
            "model": self.model.stem,
            "evaluations": {**all_figures(self.model), self.id: entry},
        }
        write_file(figures_path(self.model), json.dumps(content, indent=1) + "\n")
        return entry

    def prune(self) -> None:
        """Remove the logits of older evaluations, but for those that are kept."""
        folders = [path for path in (self.root / EVALUATIONS).glob("*") if path.is_dir()]
        others = [path for path in folders if path != self.logits.folder]
        others.sort(key=lambda path: -path.stat().st_mtime)
        for folder in others[max(0, self.params["keep"] - 1) :]:
            shutil.rmtree(folder)


def evaluation_result(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Prepare or publish an evaluation, as ``state`` says, and return the module's result.

    Raises EvaluationError and OSError.
    """
    if params["state"] == "cleared":
        if not check:
            clear(Path(params["root"]))
        return {"changed": False, "id": "", "finished": False, "result": {}}
    if check:
        return {"changed": True, "id": "", "finished": False, "result": {}}
    evaluation = Evaluation(params)
    with evaluation.job.alone():
        found = evaluation.result()
        changed = not found
        if not found and params["state"] == "published":
            found = evaluation.publish()
        result = {"changed": changed, "id": evaluation.id, "finished": bool(found), "result": found}
        if not found and evaluation.prepare():
            result["argv"] = evaluation.argv()
            result["steps"] = evaluation.steps()
            result["job"] = str(evaluation.job.folder)
        return result
