"""A source or an importance matrix that a URL names: what is there of it, and how the rest is downloaded.

It is downloaded once, to ``root/.sources/<sha256, 12 digits>/NAME``, and gets that name only when its sha256 is right.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id, sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import free_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import stamped_sha256, write_stamp
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.download import (
    AGAIN,
    CHECKSUM,
    MEANING,
    SHA256,
    Remote,
    aria2_argv,
    aria2_input,
    file_name,
    link,
    look,
    present_bytes,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import expanded
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.hub import explained
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError, ask, shown
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import (
    is_url,
    part_locations,
    resolved,
    token_for,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import (
    JOBS,
    SOURCES,
    STAMPS,
    fetched_folder,
    make_folder,
    stamp_path,
)

# A revision that always names the same files, in the URL of a Hugging Face repository.
PINNED = re.compile(r"/resolve/[0-9a-f]{40}/")

#: Attempts in a row that may end without a single byte more.
IDLE_ATTEMPTS = 2


class SourceError(Exception):
    """The file cannot be downloaded; ``argument`` names the option to change, ``code`` is one word for what is wrong.

    ``rc`` is the code that aria2 ended with, 0 where it did not run.
    """

    def __init__(self, argument: str, text: str, code: str, rc: int = 0) -> None:
        super().__init__(text)
        self.argument = argument
        self.code = code
        self.rc = rc

    def option(self, what: str) -> str:
        """Return the option's name for the thing that the location is of: ``source`` or ``imatrix``."""
        named = {"location": what, "sha256": f"{what}_sha256", "token": "hub_token"}
        return named.get(self.argument, self.argument)


def _remote(entry: Mapping[str, Any]) -> Remote:
    """Return a noted file. The field about the sha256's origin has had another name and other values."""
    known = {name: entry[name] for name in ("url", "name", "sha256", "size")}
    (given,) = (value == "given" for name, value in entry.items() if name not in known)
    return Remote(**known, digest_from="given" if given else "repository")


class RemoteSource:
    """What one URL names: its files, and where they are kept.

    Args:
        location: a URL, or ``hf://OWNER/NAME@REVISION/FILE``; of a split model its first part.
        sha256: those of the files, empty where the repository states them.
        root: folder of all models.
        hub, token: the server of ``hf://`` locations, and the access token for it.
        warn: takes a sentence that the user should see.
    """

    def __init__(
        self,
        location: str,
        sha256: list[str],
        root: Path,
        hub: str,
        token: str,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.root = root
        self.warn = warn
        try:
            self.url = resolved(location, hub)
            self.token = token_for(self.url, token, hub)
            self.urls = part_locations(self.url)
            names = [file_name(url) for url in self.urls]
        except (GGUFError, FetchError) as error:
            raise SourceError("location", str(error), error.code) from None
        given = [digest.lower() for digest in sha256]
        if given and (len(given) != len(self.urls) or not all(map(SHA256.fullmatch, given))):
            raise SourceError(
                "sha256", f"{shown(self.url)} has {len(self.urls)} files. Give a sha256 for each, or none.", "count"
            )
        # The repository's answer, for a revision that cannot move and for when the server cannot be reached.
        self.note = self.root / SOURCES / (content_id({"urls": list(self.urls)}) + ".json")
        self.files = self._known(given, names) or self._asked(given)
        # All parts of a split model are in the folder of the first.
        self.folder = fetched_folder(self.root, self.files[0].sha256)
        self.job = self.root / JOBS / f"fetch-{self.files[0].sha256[:12]}"

    def _known(self, given: list[str], names: list[str]) -> list[Remote]:
        """Return the files if no server need be asked: their sha256 is given and they exist, or they are noted."""
        if given:
            folder = fetched_folder(self.root, given[0])
            files = [
                Remote(url, name, sha256, (folder / name).stat().st_size, "given")
                for url, name, sha256 in zip(self.urls, names, given)
                if (folder / name).is_file()
            ]
            return files if len(files) == len(given) else []
        if PINNED.search(self.url):
            return self._noted()
        return []

    def _noted(self) -> list[Remote]:
        entries: list[Any] = read_json(self.note, [])
        try:
            return [_remote(entry) for entry in entries]
        except (AttributeError, LookupError, ValueError, TypeError):
            return []

    def _asked(self, given: list[str]) -> list[Remote]:
        try:
            return [self._look(url, sha256) for url, sha256 in zip(self.urls, given or [""] * len(self.urls))]
        except FetchError as error:
            noted = [] if given or error.status else self._noted()
            if noted:
                self.warn(f"{error}. The size and sha256 that it stated before are used.")
                return noted
            refused = error.code == "gated" or (error.code == "status" and error.status in (401, 403))
            argument = "token" if refused else "sha256" if error.code == "sha256" else "location"
            raise SourceError(argument, str(error), error.code) from None

    def _look(self, url: str, sha256: str) -> Remote:
        try:
            return look(url, self.token, sha256)
        except FetchError as error:
            raise explained(error, url, self.token) from None

    def place(self, remote: Remote) -> Path:
        return self.folder / remote.name

    def part(self, remote: Remote) -> Path:
        return self.folder / f"{remote.name}.part"

    def complete(self, remote: Remote, keep: bool) -> bool:
        """Return whether the file exists and is right; it is read only when it has changed since its stamp."""
        place = self.place(remote)
        if not place.is_file() or place.stat().st_size != remote.size:
            return False
        if keep:
            make_folder(self.root / STAMPS)
        return stamped_sha256(place, stamp_path(self.root, place), keep)[0] == remote.sha256

    def missing(self, keep: bool) -> list[Remote]:
        return [remote for remote in self.files if not self.complete(remote, keep)]

    def missing_bytes(self, missing: list[Remote]) -> int:
        return sum(max(0, remote.size - present_bytes(self.part(remote))) for remote in missing)

    def check_free_space(self, missing: list[Remote]) -> None:
        """Raise SourceError where the missing bytes do not fit on the disk."""
        need, free = self.missing_bytes(missing), free_bytes(self.root)
        if need > free:
            raise SourceError(
                "root",
                f"{self.root} has {free >> 20} MiB free, {need >> 20} MiB required for the download of "
                f"{shown(self.url)}. Remove files that are not needed, or choose a folder on a larger disk.",
                "room",
            )

    def facts(self, missing: list[Remote]) -> dict[str, Any]:
        """Return what modules return of it: path, files and what is missing."""
        files = [
            {"name": remote.name, "size": remote.size, "sha256": remote.sha256, "digest_from": remote.digest_from}
            for remote in self.files
        ]
        return {
            "remote": True,
            "finished": not missing,
            "path": str(self.place(self.files[0])),
            "files": files,
            "missing_bytes": self.missing_bytes(missing),
        }

    def write_note(self) -> None:
        """Keep the repository's answer."""
        if self.files[0].digest_from != "given":
            write_file(self.note, json.dumps([remote._asdict() for remote in self.files]) + "\n")

    @property
    def attempts(self) -> Path:
        """Note of attempts that have ended before the file was complete."""
        return self.job / "attempts.json"

    @property
    def input_file(self) -> Path:
        return self.job / "aria2.input"

    def prepare(self, missing: list[Remote], connections: int) -> list[str]:
        """Write aria2's input file, readable by nobody else, and return the command.

        Raises SourceError, and ServerBusy where the server asks to wait before the next attempt.
        """
        if not shutil.which("aria2c"):
            raise SourceError("location", "aria2c is required for the download. Install aria2.", "program")
        make_folder(self.folder)
        make_folder(self.job)
        if not locked(str(self.job)):
            if self.attempts.exists():
                # aria2 takes no account of the time that a server asks to wait.
                with contextlib.suppress(FetchError):
                    ask(missing[0].url, self.token, method="GET", byte=True)
            try:
                links = [link(remote.url, self.token) for remote in missing]
            except FetchError as error:
                raise SourceError("location", str(error), error.code) from None
            write_file(self.input_file, aria2_input(missing, links, self.folder, self.token), 0o600)
        return aria2_argv(self.input_file, connections)

    def publish(self, missing: list[Remote], code: int) -> str:
        """Give the downloaded files their names. Return why another attempt is needed, empty if none is.

        Raises SourceError.
        """
        self.input_file.unlink(missing_ok=True)
        if code == CHECKSUM:
            self._reject(missing)
        if code in AGAIN:
            return self._again(missing, code)
        if code:
            raise SourceError(
                "location",
                f"{shown(self.url)}: {MEANING.get(code, f'aria2 was ended (code {code})')}. The downloaded part is "
                "kept. Run again to resume.",
                "ended",
                code,
            )
        for remote in missing:
            part = self.part(remote)
            if not part.is_file() or part.stat().st_size != remote.size:
                return self._again(missing, code)
        for remote in missing:  # aria2 has compared the sha256 of each
            self._name(remote)
        shutil.rmtree(self.job, ignore_errors=True)
        return ""

    def _reject(self, missing: list[Remote]) -> None:
        """Remove the files whose sha256 is wrong, name the others, and raise SourceError. aria2 does not say which."""
        downloaded = [remote for remote in missing if present_bytes(self.part(remote)) >= remote.size]
        found = {remote.name: sha256_file(self.part(remote)) for remote in downloaded}
        wrong = [remote for remote in downloaded if found[remote.name] != remote.sha256]
        for remote in downloaded:
            if remote not in wrong:
                self._name(remote)
        for remote in wrong:
            self.part(remote).unlink()
            Path(f"{self.part(remote)}.aria2").unlink(missing_ok=True)
        faults = [f"{each.name}: checksum mismatch: expected {each.sha256}, got {found[each.name]}" for each in wrong]
        how = "as given" if self.files[0].digest_from == "given" else "as the repository states"
        raise SourceError(
            "sha256",
            f"{'; '.join(faults)} ({how}). Correct the sha256, or find out why the server sends another file. "
            "The file was removed.",
            "sum",
            CHECKSUM,
        )

    def _name(self, remote: Remote) -> None:
        """Give a file, whose sha256 is right, its name."""
        part = self.part(remote)
        part.chmod(0o644)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.place(remote))
        Path(f"{part}.aria2").unlink(missing_ok=True)
        make_folder(self.root / STAMPS)
        write_stamp(self.place(remote), stamp_path(self.root, self.place(remote)), remote.sha256)

    def _again(self, missing: list[Remote], code: int) -> str:
        """Return why another attempt is worth it: the last ones have made progress. Raises SourceError otherwise."""
        left = self.missing_bytes(missing)
        before: dict[str, int] = read_json(self.attempts, {})
        idle = before.get("idle", -1) + 1 if left >= before.get("left", left + 1) else 0
        if idle >= IDLE_ATTEMPTS:
            self.attempts.unlink()
            raise SourceError(
                "location",
                f"{shown(self.url)}: {IDLE_ATTEMPTS + 1} attempts made no progress (aria2 ended with code {code}; its "
                f"log is {self.job}/log). The downloaded part is kept. Run again to resume.",
                "idle",
                code,
            )
        write_file(self.attempts, json.dumps({"left": left, "idle": idle}) + "\n")
        return f"aria2 ended with code {code}, {left} bytes are missing"


def path_facts(location: str) -> dict[str, Any]:
    """Return the same facts for a path, which is used as it is."""
    return {"remote": False, "finished": True, "path": expanded(location), "files": [], "missing_bytes": 0}


def source_facts(
    location: str, sha256: list[str], root: Path, hub: str, token: str, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Return what is there and what is missing of a location, a path or a URL; change nothing. Raises SourceError."""
    if not is_url(location):
        return path_facts(location)
    source = RemoteSource(location, sha256, root, hub, token, warn)
    missing = source.missing(keep=False)
    source.check_free_space(missing)
    return source.facts(missing)
