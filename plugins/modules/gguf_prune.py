#!/usr/bin/python
"""Ansible module: removes the models of a board that nothing uses any more."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_prune
short_description: Removes the models of a board that nothing uses any more
description:
  - A model C(folder/NAME/DIGITS.gguf) is used where one of the links I(users) leads to it. The others are removed, with
    manifest and stamp. What is being received (C(.part)) is not touched.
  - Where no link leads to a model, nothing is removed.
options:
  folder:
    description: Folder of all models.
    type: path
    required: true
  users:
    description: Patterns of links, as glob(7) has them.
    type: list
    elements: str
    required: true
author: ik-llama-pi
"""

EXAMPLES = """
- name: Keep what serves, and what served before
  gguf_prune:
    folder: /var/lib/llama/models
    users: [/var/lib/llama/proven/model, /var/lib/llama/previous/model]
"""

RETURN = """
removed:
  description: Models that were removed, or would be, as NAME/DIGITS.
  returned: always
  type: list
  elements: str
freed_bytes:
  description: How much room they took.
  returned: always
  type: int
"""

import glob
import os
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def unused_models(folder: Path, users: list[str]) -> list[Path]:
    """The models below `folder` to which none of the links leads; none if the links lead to no model at all."""
    models = [path for path in sorted(folder.glob("*/*.gguf")) if re.fullmatch(r"[0-9a-f]{12}\.gguf", path.name)]
    used = {os.path.realpath(link) for pattern in users for link in glob.glob(pattern)}
    unused = [path for path in models if os.path.realpath(path) not in used]
    return unused if len(unused) < len(models) else []


def remove_model(path: Path) -> None:
    """Remove a model. Its manifest goes first: without it the model does not count as there."""
    for each in (path.with_suffix(".json"), path, path.with_name(f"{path.name}.stamp")):
        each.unlink(missing_ok=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "users": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    folder = Path(module.params["folder"])
    removed: list[str] = []
    freed = 0
    try:
        for path in unused_models(folder, module.params["users"]):
            freed += path.stat().st_size
            if not module.check_mode:
                remove_model(path)
            removed.append(f"{path.parent.name}/{path.stem}")
    except OSError as error:
        module.fail_json(msg=f"a model that is not used any more cannot be removed: {error}")
    before = "".join(f"{name}\n" for name in removed)
    module.exit_json(changed=bool(removed), removed=removed, freed_bytes=freed, diff={"before": before, "after": ""})


if __name__ == "__main__":
    main()
