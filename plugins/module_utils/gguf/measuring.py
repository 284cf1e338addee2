"""What evaluations and importance matrices have in common: a program that runs a source over a text, once, detached.

Its result is staged as a ``.part`` and gets its name, and then its manifest, only when it is right. A program that was
killed starts again from the beginning: neither logits nor an importance matrix can be continued by the engine (of a
matrix that is read back with ``--in-file`` all earlier chunks weigh as little as their number of calls, where newer
ones weigh by their tokens).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import free_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json, read_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import read_stamp, stamped_sha256
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import CONTEXTS, EvaluationError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import hyperparameters
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import ForecastError, expanded, open_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError, Header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model import current_release, source_sha256
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote_source import SourceError, source_facts
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import is_url, part_locations
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import JOBS, STAMPS, make_folder, stamp_path

#: Pointers to releases that may have the programs.
POINTERS = ("current", "evaluate")
#: Options that the modules of evaluations and importance matrices share.
OPTIONS: dict[str, Any] = {
    "root": {"type": "path", "required": True},
    "source": {"type": "str", "required": True},
    "text": {"type": "str", "required": True},
    "context": {"type": "int", "default": 512},
    "chunks": {"type": "int", "default": 0},
    "threads": {"type": "int", "default": 0},
    "engine_root": {"type": "path", "required": True},
}
#: Lines of a log in a message.
SHOWN = 6


class Text(NamedTuple):
    """The text that is read by the model."""

    path: Path
    size: int
    sha256: str

    def facts(self) -> dict[str, Any]:
        return {"path": str(self.path), "size": self.size, "sha256": self.sha256}


class Source(NamedTuple):
    """A source on this host; its sha256 is empty where it is not known without reading it whole."""

    path: Path
    size: int
    sha256: str
    header: Header
    hparams: dict[str, int]

    def facts(self) -> dict[str, Any]:
        return {"path": str(self.path), "size": self.size, "sha256": self.sha256}


def check_numbers(params: Mapping[str, Any]) -> None:
    """Raise EvaluationError for numbers that cannot be."""
    least, most = CONTEXTS
    if not least <= params["context"] <= most:
        raise EvaluationError("context", f"a context of {least} to {most} tokens is possible", "number")
    if params["chunks"] < 0:
        raise EvaluationError("chunks", "the number of chunks is 0 (all of the text) or more", "number")
    if params["threads"] < 0:
        raise EvaluationError("threads", "the number of threads is 0 (all that the host has) or more", "number")


def read_source_text(params: Mapping[str, Any]) -> Text:
    """Return the text. Raises EvaluationError where there is none, or it is surely too short: two chunks are needed."""
    if not params["text"]:
        raise EvaluationError("text", "empty. Name a plain text on this host, of some ten thousand words", "missing")
    path = Path(expanded(params["text"]))
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise EvaluationError("text", f"{path} is not a file. Name a plain text on this host", "missing")
        if size + 1 < 2 * params["context"]:
            raise EvaluationError(
                "text",
                f"{path} has {size} bytes, and two chunks of {params['context']} tokens are needed. Take a longer "
                "text, or a shorter context",
                "short",
            )
        return Text(path.absolute(), size, sha256_file(path))
    except FileNotFoundError:
        raise EvaluationError("text", f"{path} does not exist. Copy the text to this host", "missing") from None
    except OSError as error:
        raise EvaluationError("text", f"{path} cannot be read: {error}", "missing") from None


def find_source(params: Mapping[str, Any], warn: Callable[[str], None] | None) -> Source:
    """Return the source, of which only the header is read. Raises EvaluationError and ServerBusy.

    A URL is asked for its sha256, with ``warn`` (where that is None, only a path is understood).
    """
    root, location = Path(params["root"]), params["source"]
    if is_url(location):
        if warn is None:
            raise EvaluationError("source", "not downloaded yet", "not-fetched")
        given = [digest.lower() for digest in params["source_sha256"]]
        try:
            found = source_facts(location, given, root, params["hub"], params["hub_token"], warn)
        except SourceError as error:
            raise EvaluationError(error.option("source"), str(error), error.code) from None
        if not found["finished"]:
            raise EvaluationError(
                "source", "it is not downloaded yet. Run playbooks/quantize.yml first, which does it", "not-fetched"
            )
        location = found["path"]
    path = Path(expanded(location)).absolute()
    try:
        header = open_header(str(path))
        hparams = hyperparameters(header)
        parts = [Path(part) for part in part_locations(str(path))]
        digests = [(read_stamp(part, stamp_path(root, part)) or "", part.name) for part in parts]
        size = sum(part.stat().st_size for part in parts)
    except ForecastError as error:
        raise EvaluationError("source", str(error), error.code or "missing") from None
    except GGUFError as error:
        raise EvaluationError("source", f"{path}: {error}", error.code) from None
    sha256 = source_sha256(digests) if all(digest for digest, _name in digests) else ""
    return Source(path, size, sha256, header, hparams)


def with_sha256(source: Source, root: Path) -> Source:
    """Return the source with its sha256, for which it is read whole unless that is known. Raises OSError."""
    if source.sha256:
        return source
    make_folder(root / STAMPS)
    parts = [Path(part) for part in part_locations(str(source.path))]
    digests = [(stamped_sha256(part, stamp_path(root, part), True)[0], part.name) for part in parts]
    return source._replace(sha256=source_sha256(digests))


def release_in_use(engine_root: Path) -> dict[str, str]:
    """Return ``commit`` and ``id`` of the engine release in use. Raises EvaluationError where there is none."""
    release = current_release(engine_root)
    if not release:
        raise EvaluationError(
            "engine_root", f"{engine_root}/current has no engine release. Run playbooks/build.yml", "release"
        )
    return release


def find_program(engine_root: Path, commit: str, name: str) -> Path | None:
    """Return a program of exactly this commit, None where no release that a pointer names has it."""
    for pointer in POINTERS:
        folder = engine_root / pointer
        program = folder / "bin" / name
        manifest: dict[str, Any] = read_json(folder / "release.json", {})
        if manifest.get("commit") == commit and os.access(program, os.X_OK):
            return program.resolve()
    return None


def needed_program(engine_root: Path, commit: str, name: str) -> Path:
    """Return a program as `find_program` does. Raises EvaluationError where there is none."""
    program = find_program(engine_root, commit, name)
    if not program:
        raise EvaluationError(
            "engine_root",
            f"{engine_root} has no {name} of the commit {commit[:12]}. Run playbooks/evaluate.yml, which builds it",
            "program",
        )
    return program


def check_room(folder: Path, need: int, argument: str) -> None:
    """Raise EvaluationError where ``need`` bytes do not fit where ``folder`` is, or will be. What is left of unfinished
    results there counts as free: it is removed before another one is begun."""
    free = free_bytes(folder) + sum(part.stat().st_size for part in folder.glob("*/*.part"))
    if need > free:
        raise EvaluationError(
            argument,
            f"{folder} has {free >> 20} MiB free, and up to {need >> 20} MiB are required. Make room, or measure fewer "
            "chunks",
            "room",
        )


def cores(threads: int) -> int:
    return threads or os.cpu_count() or 1


def memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Job:
    """The state of the command that makes the result: one for all evaluations, and one for importance matrices."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / JOBS / name

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other run on this host publishes a result or prepares one, and keep others waiting."""
        make_folder(self.folder)
        with (self.folder / "publish.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def running(self) -> bool:
        return locked(str(self.folder))

    def ended(self, argv: list[str]) -> dict[str, Any]:
        """Return how this very command has ended (``rc``, ``seconds``, ``cpu_seconds``); empty if it has not."""
        job: dict[str, Any] = read_json(self.folder / "job.json", {})
        ended: dict[str, Any] = read_json(self.folder / "exit.json", {})
        same = "id" in job and ended.get("id") == job["id"] and job.get("argv") == argv
        return ended if same else {}

    def made(self, argv: list[str], part: Path) -> bool:
        """Return whether this very command has succeeded in a run that did not publish its result."""
        job: dict[str, Any] = read_json(self.folder / "job.json", {})
        return (
            not self.running()
            and self.ended(argv).get("rc") == 0
            and part.is_file()
            and part.stat().st_mtime >= job.get("started", float("inf"))
        )

    def output(self) -> str:
        return read_text(self.folder / "log")

    def forget(self) -> None:
        """Let the command run again the next time."""
        (self.folder / "exit.json").unlink(missing_ok=True)

    def last_lines(self) -> str:
        lines = [line for line in self.output().splitlines() if line.strip()]
        return "\n".join(line[-300:] for line in lines[-SHOWN:])

    def clear(self, parts: list[Path]) -> None:
        """Remove what interrupted attempts have left, unless a command runs."""
        if not self.running():
            for part in parts:
                part.unlink(missing_ok=True)
