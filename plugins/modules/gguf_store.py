#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the folder of models of a quantizer."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_store
short_description: Remove what quantizing has left in a folder, all of it or what is no longer kept
version_added: "0.2.0"
description:
  - Removes models, manifests, figures, downloaded sources, importance matrices that were made here, logits, stamps and
    logs from a quantizer's folder of models, and the folders that are empty then. Files that modules of this collection
    did not create stay.
  - With O(state=pruned) the newest models and sources stay, and those that are in use. While a download or a
    quantization runs nothing is removed.
  - With O(state=absent) it fails while one runs.
options:
  root:
    description: Folder of all models.
    type: path
    required: true
  state:
    description: What to do.
    type: str
    choices: [absent, pruned]
    default: absent
  name:
    description: Name of the models. Needed for O(state=pruned), like all that follow.
    type: str
  id:
    description: ID of the model in use.
    type: str
  keep:
    description: How many models of this name stay, and how many sources, those in use among them.
    type: int
  used:
    description: Files that the model in use was made from.
    type: list
    elements: path
attributes:
  check_mode:
    support: full
    description: Reports what would be removed, and removes nothing.
  diff_mode:
    support: full
    description: Lists the paths that are removed.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Remove all models from the quantizer
  ik_llama.pi.gguf_store:
    root: ~/.local/share/ik-llama-pi/models
    state: absent

- name: Remove all but the last three models
  ik_llama.pi.gguf_store:
    root: ~/.local/share/ik-llama-pi/models
    state: pruned
    name: alphabet
    id: 0123456789ab
    keep: 3
    used: [~/models/source.gguf]
"""

RETURN = """
removed:
  description: Paths that were removed, or would be, below the folder.
  returned: success
  type: list
  elements: str
freed_bytes:
  description: Their size.
  returned: success
  type: int
kept:
  description: Paths below the folder that stay, since they are not the project's.
  returned: success
  type: list
  elements: str
running:
  description: Jobs that run.
  returned: failure
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import (
    contents,
    pruned,
    remove_contents,
    running_jobs,
    unused,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["absent", "pruned"], "default": "absent"},
            "name": {"type": "str"},
            "id": {"type": "str"},
            "keep": {"type": "int"},
            "used": {"type": "list", "elements": "path"},
        },
        required_if=[("state", "pruned", ["name", "id", "keep", "used"])],
        supports_check_mode=True,
    )
    params = module.params
    root = Path(params["root"])
    running = running_jobs(root)
    if running and params["state"] == "pruned":
        module.exit_json(changed=False, removed=[], kept=[], freed_bytes=0)
    if running:
        text = f"{root} is in use by {', '.join(running)}. Wait for its end, or stop it. Nothing was removed."
        module.fail_json(msg=text, running=running)
    try:
        if params["state"] == "pruned":
            used = [Path(path).absolute() for path in params["used"]]
            found = pruned(root, unused(root, params["name"], params["id"], params["keep"], used))
        else:
            found = contents(root)
        if not module.check_mode:
            remove_contents(root, found)
    except OSError as error:
        module.fail_json(msg=f"{root}: {error}", running=[])
    removed, kept = ([str(path.relative_to(root)) for path in paths] for paths in (found.ours, found.kept))
    module.exit_json(
        changed=bool(removed),
        removed=removed,
        kept=kept,
        freed_bytes=found.size,
        diff={"before": "".join(f"{name}\n" for name in removed + kept), "after": "".join(f"{n}\n" for n in kept)},
    )


if __name__ == "__main__":
    main()
