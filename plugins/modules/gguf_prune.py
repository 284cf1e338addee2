#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: remove the unused models of a board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_prune
short_description: Remove the models of a board that nothing uses, or all of them
description:
  - A model C(folder/NAME/DIGEST.gguf) is used where one of the links O(users) leads to it. The others are removed, with
    manifest and stamp. What is left of a copy that ended before the model was complete is removed too, unless
    somebody writes there now.
  - Where no link leads to a model, nothing is removed.
  - With O(state=absent) all models are removed, and what is left of interrupted copies. Other files stay, and so does a
    folder on which a disk is mounted.
options:
  state:
    description: Whether to keep the models that are used.
    type: str
    choices: [pruned, absent]
    default: pruned
    version_added: "0.2.0"
  folder:
    description: Folder of all models.
    type: path
    required: true
  users:
    description: Patterns of links, as glob(7) has them. Needed for O(state=pruned).
    type: list
    elements: str
attributes:
  check_mode:
    support: full
    description: Reports what would be removed, and removes nothing.
  diff_mode:
    support: full
    description: Lists the models that are removed.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Remove unused models
  ik_llama.pi.gguf_prune:
    folder: /var/lib/llama/models
    users: [/var/lib/llama/verified/model, /var/lib/llama/previous/model]
"""

RETURN = """
removed:
  description: Models that were removed, or would be, as NAME/DIGEST.
  returned: always
  type: list
  elements: str
freed_bytes:
  description: Their size.
  returned: always
  type: int
left:
  description: With O(state=absent), files and folders that are not ours.
  returned: always
  type: list
  elements: str
"""

import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.placement import (
    abandoned,
    our_files,
    remove_all,
    remove_model,
    unused_models,
)


def absent(module: AnsibleModule, folder: Path) -> None:
    """Remove all models, and exit."""
    before = our_files(folder)
    removed = [f"{path.parent.name}/{path.stem}" for path in before if path.suffix == ".gguf"]
    freed = sum(path.lstat().st_size for path in before)
    changed = bool(before) or (folder.is_dir() and not any(folder.iterdir()) and not folder.is_mount())
    left: list[str] = []
    if not module.check_mode:
        try:
            left = [str(path) for path in remove_all(folder)]
        except OSError as error:
            module.fail_json(msg=f"the models cannot be removed: {error}")
    text = "".join(f"{path}\n" for path in before)
    module.exit_json(changed=changed, removed=removed, freed_bytes=freed, left=left, diff={"before": text, "after": ""})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "users": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["pruned", "absent"], "default": "pruned"},
        },
        required_if=[("state", "pruned", ["users"])],
        supports_check_mode=True,
    )
    folder = Path(module.params["folder"])
    if module.params["state"] == "absent":
        absent(module, folder)
    removed: list[str] = []
    freed = 0
    try:
        for path in unused_models(folder, module.params["users"]):
            freed += path.stat().st_size
            if not module.check_mode:
                remove_model(path)
            removed.append(f"{path.parent.name}/{path.stem}")
        for path in abandoned(folder):
            freed += sum(file.lstat().st_size for file in path.iterdir())
            if not module.check_mode:
                shutil.rmtree(path)
            removed.append(f"{path.parent.name}/{path.name}")
    except OSError as error:
        module.fail_json(
            msg=f"an unused model cannot be removed: {error}. Removed before: {', '.join(removed) or '-'}."
        )
    before = "".join(f"{name}\n" for name in removed)
    module.exit_json(
        changed=bool(removed), removed=removed, freed_bytes=freed, left=[], diff={"before": before, "after": ""}
    )


if __name__ == "__main__":
    main()
