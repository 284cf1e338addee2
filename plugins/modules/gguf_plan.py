#!/usr/bin/python
"""Ansible module: what quantizing a GGUF file by a recipe will give."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_plan
short_description: Predicts what quantizing a GGUF file by a recipe will give
description:
  - Reads the headers of the source and of the importance matrix, no weights, and predicts the type of each tensor and
    the size of the result to the byte. Changes nothing.
  - In check mode a missing source or matrix is only a warning, and the plan is empty.
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
    description:
      - Where the result shall be. Its disk must have room for it, unless a model of just this size is there already.
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
argument:
  description: Which option is wrong.
  returned: failure
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.model_plan import PlanError, check_room, make_plan


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
    folder = Path(params["folder"]) if params["folder"] else None
    try:
        plan = make_plan(Path(params["source"]), params["recipe"], imatrix)
        size = plan.prediction.file_bytes
        if folder and not any(model.stat().st_size == size for model in folder.glob("*.gguf")):
            check_room(folder, size)
    except PlanError as error:
        if module.check_mode and error.missing:  # an earlier step may be about to bring it
            module.warn(f"{error}. Until then it cannot be said what would be made")
            module.exit_json(changed=False, plan={})
        module.fail_json(msg=str(error), argument=error.argument)
    module.exit_json(changed=False, plan=plan.facts)


if __name__ == "__main__":
    main()
