#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: whether a model is on a board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_place_info
short_description: Get whether a model is on a board, and the free space for it
version_added: "0.2.0"
description:
  - A model is C(folder/DIGEST.gguf), DIGEST being the first 12 digits of its sha256. It is finished when its manifest
    C(DIGEST.json) exists and a stamp confirms the file. A file whose stamp is right is not read.
extends_documentation_fragment:
  - ik_llama.pi.options.place
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Get whether the model is there
  ik_llama.pi.gguf_place_info:
    folder: /var/lib/llama/models/alphabet
    sha256: "{{ manifest.sha256 }}"
    size: "{{ manifest.size }}"
  register: place
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
complete:
  description: Whether the file is there and has the sha256, with or without its manifest.
  returned: always
  type: bool
finished:
  description: Whether its manifest is there, too.
  returned: always
  type: bool
pointed:
  description: Whether C(current.gguf) and C(current.json) name it, and the service can read it.
  returned: always
  type: bool
missing_bytes:
  description: How much is still to be received.
  returned: always
  type: int
free_bytes:
  description: Free space of the file system.
  returned: always
  type: int
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.placement import PLACE_OPTIONS, Placement


def main() -> None:
    module = AnsibleModule(
        argument_spec=PLACE_OPTIONS,
        supports_check_mode=True,
    )
    placement = Placement(Path(module.params["folder"]), module.params["sha256"], module.params["size"])
    try:
        facts = placement.facts()
    except OSError as error:
        module.fail_json(msg=f"{placement.path}: {error}")
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
