#!/usr/bin/python
"""Ansible module: what quantizing a GGUF file by a recipe will give."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_plan
short_description: Predicts what quantizing a GGUF file by a recipe will give
description:
  - Reads the headers of the source and of the importance matrix, no weights, and predicts the type of each tensor and
    the size of the result to the byte. Changes nothing.
options:
  source:
    description: The GGUF file to quantize.
    type: path
    required: true
  recipe:
    description: The recipe's data, as read from its file.
    type: dict
    required: true
  imatrix:
    description: The importance matrix, in the engine's legacy form. Empty where there is none.
    type: str
    default: ""
  folder:
    description: Where the result shall be; its disk's free room is returned.
    type: path
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: See what it will give
  gguf_plan:
    source: /models/Qwen3.5-35B-A3B-Q8_0.gguf
    imatrix: /models/imatrix.dat
    recipe: "{{ lookup('ansible.builtin.file', 'my-recipe.yml') | from_yaml }}"
"""

RETURN = r"""
plan:
  description:
    - Keys are C(architecture), C(hparams) (what the size in memory depends on), C(tensor_bytes), C(file_bytes),
      C(types) (tensor to type) and C(groups) (name without layer, then type, then number of C(tensors) and C(bytes)).
  returned: success
  type: dict
free_bytes:
  description: Room where the result shall be.
  returned: when folder is given
  type: int
argument:
  description: Which option is wrong.
  returned: failure
  type: str
missing:
  description: Whether it is wrong because its file is not there.
  returned: failure
  type: bool
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.model_plan import PlanError, free_bytes, make_plan


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "recipe": {"type": "dict", "required": True},
            "imatrix": {"type": "str", "default": ""},
            "folder": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    imatrix = Path(params["imatrix"]).expanduser() if params["imatrix"] else None
    try:
        plan = make_plan(Path(params["source"]), params["recipe"], imatrix)
    except PlanError as error:
        module.fail_json(msg=str(error), argument=error.argument, missing=error.missing)
    room = {"free_bytes": free_bytes(Path(params["folder"]))} if params["folder"] else {}
    module.exit_json(changed=False, plan=plan.facts, **room)


if __name__ == "__main__":
    main()
