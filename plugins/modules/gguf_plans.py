#!/usr/bin/python
"""Ansible module: what several recipes and file types would make of one GGUF file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_plans
short_description: Predicts what several recipes and file types would make of one GGUF file
description:
  - Reads the header of the source once, no weights, and predicts for each recipe and for each file type of the engine
    what M(gguf_plan) predicts for one. Changes nothing.
options:
  source:
    description: The GGUF file, or its URL.
    type: str
    required: true
  recipes:
    description: Recipes by name, each the data of its file.
    type: dict
    required: true
  file_types:
    description: File types of llama-quantize, like V(Q4_K_M), taken without any option.
    type: list
    elements: str
    default: []
  imatrix:
    description:
      - The importance matrix, or its URL. Where it is not here yet, file sizes are short of its lines in the header,
        some hundred bytes.
    type: str
    default: ""
  hub:
    description: The server that V(hf://) stands for, and that the token is for.
    type: str
    default: https://huggingface.co
  token:
    description: Token for the hub.
    type: str
    default: ""
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: See what the recipes would give
  gguf_plans:
    source: hf://owner/Qwen3.5-35B-A3B-GGUF/Qwen3.5-35B-A3B-Q8_0.gguf
    recipes:
      mine: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
    file_types: [Q4_K_M]
"""

RETURN = r"""
plans:
  description:
    - Name of the recipe or file type to what M(gguf_plan) returns as its plan, with C(kind) (V(recipe) or
      V(file type)) and C(exact), whether the file's size is known to the byte. Where there is no plan, only C(kind) and
      C(problem) and C(place) (the key of the recipe that it is about).
  returned: success
  type: dict
source:
  description: C(location), C(bytes) of all parts, and how many were C(transferred) over a network.
  returned: success
  type: dict
argument:
  description: Which option is wrong.
  returned: failure
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import PlanError, make_plans
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import shown
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB, is_url


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "str", "required": True},
            "recipes": {"type": "dict", "required": True},
            "file_types": {"type": "list", "elements": "str", "default": []},
            "imatrix": {"type": "str", "default": ""},
            "hub": {"type": "str", "default": HUB},
            "token": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    params = module.params

    def location(given: str) -> str:
        return given if is_url(given) else str(Path(given).expanduser())

    try:
        source, plans = make_plans(
            location(params["source"]),
            params["recipes"],
            params["file_types"],
            location(params["imatrix"]) if params["imatrix"] else "",
            params["token"],
            params["hub"],
        )
    except PlanError as error:
        module.fail_json(msg=str(error), argument=error.argument)
    module.exit_json(
        changed=False,
        plans=plans,
        source={
            "location": shown(params["source"]) if is_url(params["source"]) else params["source"],
            "bytes": source.size,
            "transferred": source.transferred,
        },
    )


if __name__ == "__main__":
    main()
