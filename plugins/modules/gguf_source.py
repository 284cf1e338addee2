#!/usr/bin/python
"""Ansible module: a file that a model is made from, wherever it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_source
short_description: Knows where a source or an importance matrix is, and fetches it by aria2
description:
  - A path is left as it is. What a URL names is fetched, once, to C(root/.sources/<sha256, 12 digits>/NAME), and gets
    that name only when its sha256 is right. Of a split model (C(NAME-00001-of-00003.gguf)) all parts are fetched.
  - With C(state=looked) the module says what is there and what is missing; it changes nothing. Where the sha256 is
    given and the file is there, no server is asked.
  - With C(state=prepared) it returns the command that fetches what is missing; with C(state=published) it looks at
    what that command has left.
options:
  what:
    description: What it is, for C(argument).
    type: str
    choices: [source, imatrix]
    default: source
  location:
    description: Path, URL or C(hf://OWNER/NAME@REVISION/FILE); of a split model its first part.
    type: str
    required: true
  sha256:
    description: What the sha256 of each file must be. Empty where the repository tells it.
    type: list
    elements: str
    default: []
  hub:
    description: The server of C(hf://) locations.
    type: str
    default: https://huggingface.co
  token:
    description: Access token for the hub. No other server gets it.
    type: str
    default: ""
  root:
    description: Folder of all models.
    type: path
    required: true
  connections:
    description: Connections at a time.
    type: int
    default: 8
  rc:
    description: How the command ended, for C(state=published).
    type: int
    default: 0
  state:
    description: What to do.
    type: str
    choices: [looked, prepared, published]
    default: looked
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: See where the source is
  gguf_source:
    location: hf://owner/model@main/model-Q8_0.gguf
    root: /models
  register: source
"""

RETURN = r"""
remote:
  description: Whether the location is a URL.
  returned: success
  type: bool
finished:
  description: Whether the file is there. Always true for a path, which is not looked at.
  returned: success
  type: bool
path:
  description: Where the file is, or will be.
  returned: success
  type: str
files:
  description: C(name), C(size), C(sha256) and who told it (C(told)), of each part.
  returned: for a URL
  type: list
  elements: dict
missing_bytes:
  description: What is still to be fetched.
  returned: success
  type: int
argv:
  description: The command that fetches it.
  returned: with C(state=prepared)
  type: list
  elements: str
job:
  description: Folder for the state of that command.
  returned: with C(state=prepared)
  type: str
reason:
  description: Why it is not finished, and another attempt is worth it.
  returned: with C(state=published), when it is not finished
  type: str
argument:
  description: What is wrong, as C(source), C(source_sha256), C(imatrix), C(imatrix_sha256), C(hub_token) or C(root).
  returned: failure
  type: str
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_key
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import sha256_of, stamped_sha256, write_stamp
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
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError, shown
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import (
    HUB,
    is_url,
    part_locations,
    resolved,
    token_for,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import fetched_folder, make_folder, stamp_path

# A revision that always names the same files, in the URL of a Hugging Face repository.
PINNED = re.compile(r"/resolve/[0-9a-f]{40}/")


IDLE_ATTEMPTS = 2


class SourceError(Exception):
    """The file cannot be had; ``argument`` names the option to change, ``code`` is one word for what is wrong.

    ``rc`` is the code that aria2 ended with, 0 where it did not run.
    """

    def __init__(self, argument: str, text: str, code: str, rc: int = 0) -> None:
        super().__init__(text)
        self.argument = argument
        self.code = code
        self.rc = rc


class Source:
    """What one URL names: its files, and where they are kept."""

    def __init__(self, params: dict[str, Any], warn: Any = lambda text: None) -> None:
        self.params = params
        self.root = Path(params["root"])
        self.warn = warn
        try:
            self.url = resolved(params["location"], params["hub"])
            self.token = token_for(self.url, params["token"], params["hub"])
            self.urls = part_locations(self.url)
            names = [file_name(url) for url in self.urls]
        except (GGUFError, FetchError) as error:
            raise SourceError("location", str(error), error.code) from None
        given = [sha256.lower() for sha256 in params["sha256"]]
        if given and (len(given) != len(self.urls) or not all(map(SHA256.fullmatch, given))):
            raise SourceError(
                "sha256", f"{shown(self.url)} has {len(self.urls)} files: give a sha256 for each, or none", "count"
            )
        # What the repository told is kept, for a revision that cannot move and for when nobody answers.
        self.note = self.root / ".sources" / (content_key({"urls": list(self.urls)}) + ".json")
        self.files = self._known(given, names) or self._asked(given)
        # A split model's parts lie together, in the folder of the first.
        self.folder = fetched_folder(self.root, self.files[0].sha256)
        self.job = self.root / ".jobs" / f"fetch-{self.files[0].sha256[:12]}"

    def _known(self, given: list[str], names: list[str]) -> list[Remote]:
        """The files as far as no server need be asked: by given sha256 when they are there, by what was noted."""
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
        try:
            return [Remote(**entry) for entry in json.loads(self.note.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return []

    def _asked(self, given: list[str]) -> list[Remote]:
        try:
            return [look(url, self.token, sha256) for url, sha256 in zip(self.urls, given or [""] * len(self.urls))]
        except FetchError as error:
            noted = [] if given or error.status else self._noted()
            if noted:
                self.warn(f"{error}. What it told before is taken as still true.")
                return noted
            argument = "token" if error.status in (401, 403) else "sha256" if error.code == "sha256" else "location"
            raise SourceError(argument, str(error), error.code) from None

    def place(self, remote: Remote) -> Path:
        return self.folder / remote.name

    def part(self, remote: Remote) -> Path:
        return self.folder / f"{remote.name}.part"

    def whole(self, remote: Remote, keep: bool) -> bool:
        """Whether the file is there and right; it is read for that only when it has changed."""
        place = self.place(remote)
        if not place.is_file() or place.stat().st_size != remote.size:
            return False
        if keep:
            make_folder(self.root / ".stamps")
        return stamped_sha256(place, stamp_path(self.root, place), keep)[0] == remote.sha256

    def missing(self, keep: bool) -> list[Remote]:
        return [remote for remote in self.files if not self.whole(remote, keep)]

    def missing_bytes(self, missing: list[Remote]) -> int:
        return sum(max(0, remote.size - present_bytes(self.part(remote))) for remote in missing)

    def check_room(self, missing: list[Remote]) -> None:
        where = self.root
        while not where.exists() and where != where.parent:
            where = where.parent
        disk = os.statvfs(where)
        need, room = self.missing_bytes(missing), disk.f_bavail * disk.f_frsize
        if need > room:
            raise SourceError(
                "root",
                f"{self.root} has {room >> 20} MiB free, and {need >> 20} MiB of {shown(self.url)} are still to be "
                "fetched; remove what is not needed there, or name a folder on a larger disk",
                "room",
            )

    @property
    def input_file(self) -> Path:
        return self.job / "aria2.input"

    def prepare(self, missing: list[Remote]) -> list[str]:
        """Write aria2's input file, readable by nobody else, and return the command."""
        if not shutil.which("aria2c"):
            raise SourceError(
                "location", "aria2c, which fetches it, is not installed; install aria2 and run again", "program"
            )
        make_folder(self.folder)
        make_folder(self.job)
        if not locked(str(self.job)):
            try:
                links = [link(remote.url, self.token) for remote in missing]
            except FetchError as error:
                raise SourceError("location", str(error), error.code) from None
            write_file(self.input_file, aria2_input(missing, links, self.folder, self.token), 0o600)
        return aria2_argv(self.input_file, self.params["connections"])

    def publish(self, missing: list[Remote], code: int) -> str:
        """Give what was fetched its name. Returns why it is not whole yet, empty if it is. Raises SourceError."""
        self.input_file.unlink(missing_ok=True)
        if code == CHECKSUM:
            # aria2 does not say which of several it was. Those that are right are not fetched again.
            whole = [remote for remote in missing if present_bytes(self.part(remote)) >= remote.size]
            right = [remote for remote in whole if sha256_of(self.part(remote)) == remote.sha256]
            for remote in right:
                self._name(remote)
            wrong = [remote for remote in whole if remote not in right]
            for remote in wrong:
                self.part(remote).unlink()
                Path(f"{self.part(remote)}.aria2").unlink(missing_ok=True)
            told = "given" if self.files[0].told == "given" else "told by the repository"
            raise SourceError(
                "sha256",
                f"{' or '.join(remote.name for remote in wrong)} has not the sha256 that was "
                f"{told} ({', '.join(remote.sha256 for remote in wrong)}); it is removed. "
                "Correct the number, or find out why the server sends another file",
                "sum",
                code,
            )
        if code in AGAIN:
            return self._again(missing, code)
        if code:
            raise SourceError(
                "location",
                f"{shown(self.url)}: {MEANING.get(code, f'aria2 was ended (code {code})')}; "
                "what was fetched so far is kept, run again to go on",
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

    def _name(self, remote: Remote) -> None:
        """Give a file, whose sha256 is right, its name."""
        part = self.part(remote)
        part.chmod(0o644)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.place(remote))
        Path(f"{part}.aria2").unlink(missing_ok=True)
        make_folder(self.root / ".stamps")
        write_stamp(self.place(remote), stamp_path(self.root, self.place(remote)), remote.sha256)

    def _again(self, missing: list[Remote], code: int) -> str:
        """Why another attempt is worth it: the last ones have brought something. Raises SourceError otherwise."""
        count = self.job / "attempts.json"
        left = self.missing_bytes(missing)
        try:
            before = json.loads(count.read_text(encoding="utf-8"))
            idle = 0 if left < before["left"] else before["idle"] + 1
        except (OSError, ValueError, LookupError, TypeError):
            idle = 0
        if idle >= IDLE_ATTEMPTS:
            count.unlink()
            raise SourceError(
                "location",
                f"{shown(self.url)} cannot be fetched: {IDLE_ATTEMPTS + 1} attempts brought nothing more (aria2 ended "
                f"with code {code}, its words are in {self.job}/log); what came so far is kept, run again to go on",
                "idle",
                code,
            )
        write_file(count, json.dumps({"left": left, "idle": idle}) + "\n")
        return f"aria2 ended with code {code}, {left} bytes are missing"


def run(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    if not is_url(params["location"]):
        path = Path(params["location"]).expanduser()
        return {"changed": False, "remote": False, "finished": True, "path": str(path), "missing_bytes": 0}
    source = Source(params, module.warn)
    keep = params["state"] != "looked" and not module.check_mode
    missing = source.missing(keep)
    result: dict[str, Any] = {
        "changed": False,
        "remote": True,
        "path": str(source.place(source.files[0])),
        "files": [
            {"name": remote.name, "size": remote.size, "sha256": remote.sha256, "told": remote.told}
            for remote in source.files
        ],
    }
    if missing and params["state"] == "published" and keep:
        result["reason"] = source.publish(missing, params["rc"])
        missing = source.missing(keep)
        result["changed"] = not missing
    if missing and params["state"] != "published":
        source.check_room(missing)
    if missing and params["state"] == "prepared" and module.check_mode:
        result["changed"] = True
    if missing and params["state"] == "prepared" and keep:
        result.update(argv=source.prepare(missing), job=str(source.job))
    if keep and source.files[0].told != "given":
        write_file(source.note, json.dumps([remote._asdict() for remote in source.files]) + "\n")
    return {**result, "finished": not missing, "missing_bytes": source.missing_bytes(missing)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "what": {"type": "str", "choices": ["source", "imatrix"], "default": "source"},
            "location": {"type": "str", "required": True},
            "sha256": {"type": "list", "elements": "str", "default": []},
            "hub": {"type": "str", "default": HUB},
            "token": {"type": "str", "default": "", "no_log": True},
            "root": {"type": "path", "required": True},
            "connections": {"type": "int", "default": 8},
            "rc": {"type": "int", "default": 0},
            "state": {"type": "str", "choices": ["looked", "prepared", "published"], "default": "looked"},
        },
        supports_check_mode=True,
    )

    def fail(error: Exception, argument: str) -> NoReturn:
        module.fail_json(msg=str(error), argument=argument)
        raise SystemExit(1)

    try:
        result = run(module)
    except SourceError as error:
        what = module.params["what"]
        named = {"location": what, "sha256": f"{what}_sha256", "token": "hub_token"}
        fail(error, named.get(error.argument, error.argument))
    except OSError as error:
        fail(error, "root")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
