#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: remove the unused models of a board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_prune
short_description: Remove the models of a board that nothing uses
description:
  - A model C(folder/NAME/DIGEST.gguf) is used where one of the links O(users) leads to it. The others are removed, with
    manifest and stamp. A model that is being received (C(.part)) is not touched.
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
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.placement import remove_model, unused_models


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
        module.fail_json(
            msg=f"an unused model cannot be removed: {error}. Removed before: {', '.join(removed) or '-'}."
        )
    before = "".join(f"{name}\n" for name in removed)
    module.exit_json(changed=bool(removed), removed=removed, freed_bytes=freed, diff={"before": before, "after": ""})


if __name__ == "__main__":
    main()
