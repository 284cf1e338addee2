#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: place a received model on a board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_place
short_description: Verify a received model and place it on a board
description:
  - Takes over the file that was received (M(ik_llama.pi.gguf_receive)), so that nobody else can write it any more,
    compares its sha256, and gives it its name C(folder/DIGEST.gguf), DIGEST being the first 12 digits of the sha256.
    Then it writes stamp and manifest, and moves the links C(current.gguf) and C(current.json).
  - A received file that is a link, has a second name, belongs to another account or is still being written is refused.
  - A received file with another sha256 is removed. An incomplete one stays, so that the copy can be resumed.
  - M(ik_llama.pi.gguf_place_info) returns the state without changing anything.
options:
  account:
    description: User ID of the account that received it.
    type: int
    default: 0
  manifest:
    description: Its manifest, to be written next to it.
    type: dict
    required: true
extends_documentation_fragment:
  - ik_llama.pi.options.place
attributes:
  check_mode:
    support: full
    description: Reports what would change, and changes nothing.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Place the model
  ik_llama.pi.gguf_place:
    folder: /var/lib/llama/models/alphabet
    sha256: "{{ manifest.sha256 }}"
    size: "{{ manifest.size }}"
    manifest: "{{ manifest }}"
"""

RETURN = """
path:
  description: Where the model is.
  returned: success
  type: str
finished:
  description: Whether the model is complete.
  returned: success
  type: bool
pointed:
  description: Whether the links name it.
  returned: success
  type: bool
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.placement import PLACE_OPTIONS, Placement


def place(module: AnsibleModule, placement: Placement) -> None:
    """Place the model, and exit. OSError where the disk is full, for example."""
    finished = placement.finished()
    changed = not (finished and placement.pointed())
    if changed and not module.check_mode:
        problem = "" if finished else placement.accept(module.params["account"])
        if problem:
            module.fail_json(msg=f"{placement.path}: {problem}")
        placement.publish(module.params["manifest"])
        finished = True
    module.exit_json(changed=changed, path=str(placement.path), finished=finished, pointed=placement.pointed())


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **PLACE_OPTIONS,
            "account": {"type": "int", "default": 0},
            "manifest": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)  # whatever the login set: the service reads what root writes, and nobody else writes
    placement = Placement(Path(module.params["folder"]), module.params["sha256"], module.params["size"])
    try:
        place(module, placement)
    except OSError as error:
        module.fail_json(msg=f"{placement.path}: {error}")


if __name__ == "__main__":
    main()
