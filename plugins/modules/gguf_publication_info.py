#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what a publication of a model is made from."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_publication_info
short_description: Get a finished model on the quantizer, to be published
version_added: "0.2.0"
description:
  - Returns the manifest and the file of the model in use of a recipe, and what was measured of it.
  - Fails where there is no such model, or where it cannot be linked into the folder of publications.
options:
  root:
    description: Folder of all models.
    type: path
    required: true
  name:
    description: Name of the model.
    type: str
    required: true
  recipe:
    description: Name of the recipe.
    type: str
    required: true
  folder:
    description: Folder of all publications.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Get the model
  ik_llama.pi.gguf_publication_info:
    root: ~/.local/share/ik-llama-pi/models
    name: alphabet
    recipe: rpi5-16gb-card
    folder: ~/.local/share/ik-llama-pi/published
  register: found
"""

RETURN = """
path:
  description: The model's file.
  returned: success
  type: str
manifest:
  description: The model's manifest.
  returned: success
  type: dict
evaluations:
  description:
    - What was measured of it (M(ik_llama.pi.gguf_evaluation)), by the ID of the evaluation. Empty where nothing was.
  returned: success
  type: dict
argument:
  description: The option that is wrong.
  returned: failure
  type: str
code:
  description: A word for what is wrong, V(model), V(folder) or V(device).
  returned: failure
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.publication import PublicationError, find_model


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "recipe": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        found = find_model(Path(params["root"]), params["name"], params["recipe"], Path(params["folder"]))
    except PublicationError as error:
        module.fail_json(msg=str(error), argument=error.argument, code=error.code)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), argument="root", code="file")
    module.exit_json(changed=False, path=str(found.path), manifest=found.manifest, evaluations=found.evaluations)


if __name__ == "__main__":
    main()
