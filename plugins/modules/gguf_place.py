#!/usr/bin/python
"""Ansible module: one model in its place on a board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_place
short_description: One model in its place on a board
description:
  - A model lies at C(folder/DIGITS.gguf) with its manifest C(DIGITS.json) beside it, DIGITS being the first 12 of its
    sha256. It counts as there when the manifest is there and a stamp vouches for the file.
  - With C(state=looked) nothing is changed, and no model is read whose stamp is right.
  - With C(state=placed) the received C(.part) is checked and renamed, stamp and manifest are written, and the pointers
    C(current.gguf) and C(current.json) move.
options:
  folder:
    description: Folder of all models of this name.
    type: path
    required: true
  sha256:
    description: The model's sha256.
    type: str
    required: true
  size:
    description: Its size in bytes.
    type: int
    required: true
  manifest:
    description: Its manifest, to be written beside it.
    type: dict
    default: {}
  state:
    description: What to do.
    type: str
    choices: [looked, placed]
    default: looked
author: ik-llama-pi
"""

EXAMPLES = """
- name: Look for the model
  gguf_place:
    folder: /var/lib/llama/models/alphabet
    sha256: "{{ manifest.sha256 }}"
    size: "{{ manifest.size }}"
"""

RETURN = """
path:
  description: Where the model belongs.
  returned: always
  type: str
part:
  description: Where it is received.
  returned: always
  type: str
finished:
  description: Whether the model is there, whole.
  returned: always
  type: bool
pointed:
  description: Whether the pointers name it.
  returned: always
  type: bool
missing_bytes:
  description: How much is still to be received.
  returned: always
  type: int
free_bytes:
  description: Room on the file system.
  returned: always
  type: int
"""

import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import names, point, write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import read_stamp, sha256_of, write_stamp

#: Root's to write, the service's to read.
MODE = 0o644


class Place:
    """The place of one model."""

    def __init__(self, folder: Path, sha256: str, size: int) -> None:
        digits = sha256[:12]
        self.sha256 = sha256
        self.size = size
        self.path = folder / f"{digits}.gguf"
        self.part = folder / f"{digits}.gguf.part"
        self.manifest = folder / f"{digits}.json"
        self.stamp = folder / f"{digits}.gguf.stamp"
        self.pointers = {folder / "current.gguf": self.path.name, folder / "current.json": self.manifest.name}

    def finished(self) -> bool:
        """Whether the model is there. A file that its stamp does not vouch for is read once more."""
        return self.manifest.exists() and self.whole()

    def whole(self) -> bool:
        """Whether the file is there and what it should be, with or without its manifest."""
        if not self.path.exists() or self.path.stat().st_size != self.size:
            return False
        return (read_stamp(self.path, self.stamp) or sha256_of(self.path)) == self.sha256

    def pointed(self) -> bool:
        """Whether the pointers name it and the service can read it."""
        readable = self.path.exists() and self.path.stat().st_mode & 0o777 == MODE
        return readable and all(names(link, target) for link, target in self.pointers.items())

    def missing_bytes(self) -> int:
        received = self.part.stat().st_size if self.part.exists() else 0
        return max(0, self.size - received)

    def free_bytes(self) -> int:
        where = self.path.parent
        while not where.exists():
            where = where.parent
        disk = os.statvfs(where)
        return disk.f_bavail * disk.f_frsize

    def accept(self) -> str:
        """Check what was received and give it its name. Returns why not, or nothing.

        Two controllers may bring the same model: one of them finds that the other has named it.
        """
        try:
            problem = self.accept_part()
        except FileNotFoundError:
            problem = f"{self.part} is not there: nothing was received"
        return "" if problem and not self.part.exists() and self.whole() else problem

    def accept_part(self) -> str:
        """The same for one controller. FileNotFoundError if there is nothing, or not any more."""
        received = self.part.stat().st_size
        if received < self.size:
            return f"only {received} of {self.size} bytes were received; run again to go on from there"
        found = sha256_of(self.part)
        if found != self.sha256:
            self.part.unlink()
            return f"what was received is damaged (sha256 {found}, not {self.sha256}) and was removed; run again"
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        self.part.replace(self.path)
        return ""

    def publish(self, manifest: dict[str, Any]) -> None:
        """Stamp, then manifest, then pointers: each stands for all that came before it."""
        self.path.chmod(MODE)
        if read_stamp(self.path, self.stamp) is None:
            write_stamp(self.path, self.stamp, self.sha256)
        text = json.dumps(manifest, indent=2) + "\n"
        if not self.manifest.exists() or self.manifest.read_text(encoding="utf-8") != text:
            write_file(self.manifest, text)
        for link, target in self.pointers.items():
            point(link, target)


def reach(module: AnsibleModule, place: Place) -> None:
    """Do what the state asks for, and leave. OSError where the disk is full, say."""
    finished = place.finished()
    changed = module.params["state"] == "placed" and not (finished and place.pointed())
    if changed and not module.check_mode:
        problem = "" if finished else place.accept()
        if problem:
            module.fail_json(msg=f"{place.path}: {problem}")
        place.publish(module.params["manifest"])
        finished = True
    module.exit_json(
        changed=changed,
        path=str(place.path),
        part=str(place.part),
        finished=finished,
        pointed=place.pointed(),
        missing_bytes=0 if finished else place.missing_bytes(),
        free_bytes=place.free_bytes(),
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "sha256": {"type": "str", "required": True},
            "size": {"type": "int", "required": True},
            "manifest": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["looked", "placed"], "default": "looked"},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)  # whatever the login gave: the service reads what root writes, and nobody else writes
    place = Place(Path(module.params["folder"]), module.params["sha256"], module.params["size"])
    try:
        reach(module, place)
    except OSError as error:
        module.fail_json(msg=f"{place.path}: {error}")


if __name__ == "__main__":
    main()
