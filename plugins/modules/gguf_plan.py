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
    description: The GGUF file to quantize (of a split one its first part), by path, URL or C(hf://OWNER/NAME@REVISION/FILE).
    type: str
    required: true
  recipe:
    description: The recipe's data, as read from its file.
    type: dict
    required: true
  imatrix:
    description: The importance matrix, by path or URL. Empty where there is none.
    type: str
    default: ""
  hub:
    description: The server of C(hf://) locations.
    type: str
    default: https://huggingface.co
  token:
    description: Access token for the hub. No other server gets it.
    type: str
    default: ""
  folder:
    description:
      - Where the result shall be. Its disk must have room for it, unless a model of just this size is there already.
    type: path
  beside:
    description: Bytes that are still to be fetched to that disk.
    type: int
    default: 0
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
      C(types) (tensor to type), C(groups) (name without layer, then type, then number of C(tensors) and C(bytes)),
      C(bytes_per_token) (what generation reads), C(least_bits) (of what every token reads), C(rounded_on_arm) (names)
      and C(warnings), which are given as warnings too.
  returned: success
  type: dict
argument:
  description: Which option is wrong.
  returned: failure
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import PlanError, check_room, make_plan
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB, is_url


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "str", "required": True},
            "recipe": {"type": "dict", "required": True},
            "imatrix": {"type": "str", "default": ""},
            "hub": {"type": "str", "default": HUB},
            "token": {"type": "str", "default": "", "no_log": True},
            "folder": {"type": "path"},
            "beside": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    params = module.params

    def location(given: str) -> Path | str:
        return given if is_url(given) else Path(given).expanduser()

    imatrix = location(params["imatrix"]) if params["imatrix"] else None
    folder = Path(params["folder"]) if params["folder"] else None
    try:
        plan = make_plan(location(params["source"]), params["recipe"], imatrix, params["token"], params["hub"])
        size = plan.prediction.file_bytes
        if folder and not any(model.stat().st_size == size for model in folder.glob("*.gguf")):
            check_room(folder, size + params["beside"])
    except PlanError as error:
        if module.check_mode and error.missing:  # an earlier step may be about to bring it
            module.warn(f"{error}. Until then it cannot be said what would be made")
            module.exit_json(changed=False, plan={})
        module.fail_json(msg=str(error), argument=error.argument)
    for warning in plan.facts["warnings"]:
        module.warn(f"recipe: {warning}")
    module.exit_json(changed=False, plan=plan.facts)


if __name__ == "__main__":
    main()
