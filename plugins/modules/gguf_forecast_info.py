#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what recipes and file types would make of one GGUF file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_forecast_info
short_description: Predict what recipes and file types would make of a GGUF file
version_added: "0.2.0"
description:
  - Reads the header of the source once, no weights, and predicts for each recipe and for each file type of the engine
    the type of every tensor and the size of the result.
  - Where a server asks to wait (C(Retry-After)), the action plugin of the same name shows for how long, waits, and runs
    the module again.
options:
  source:
    description: The GGUF file (of a split one its first part), by path, URL or C(hf://OWNER/NAME@REVISION/FILE).
    type: str
    required: true
  recipes:
    description: Recipes by name, each the data of its file.
    type: dict
    default: {}
  file_types:
    description: File types of llama-quantize, like V(Q4_K_M), taken without any option.
    type: list
    elements: str
    default: []
  imatrix:
    description:
      - The importance matrix, by path or URL. Where it is not on this host yet, file sizes lack its lines in the
        header, some hundred bytes.
    type: str
    default: ""
extends_documentation_fragment:
  - ik_llama.pi.options.hub
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Get the forecast of a recipe and a file type
  ik_llama.pi.gguf_forecast_info:
    source: hf://owner/Qwen3.5-35B-A3B-GGUF/Qwen3.5-35B-A3B-Q8_0.gguf
    recipes:
      mine: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
    file_types: [Q4_K_M]
"""

RETURN = r"""
forecasts:
  description:
    - By the name of the recipe or file type. Fields are C(kind) (V(recipe) or V(file type)), C(exact) (the file's size
      is known to the byte), C(architecture), C(hparams) (numbers that the size in memory depends on), C(tensor_bytes),
      C(file_bytes), C(types) (tensor to type), C(groups) (name without layer, then type, then number of C(tensors) and
      C(bytes)), C(bytes_per_token) (what generation reads), C(least_bits) (of what every token reads),
      C(rounded_on_arm) (names) and C(warnings).
    - For a recipe that cannot be used only C(kind), C(problem) and C(place) (the part of the recipe that is wrong).
  returned: success
  type: dict
source:
  description: C(location), C(bytes) of all parts, and how many bytes were C(transferred) over a network.
  returned: success
  type: dict
argument:
  description: The option that is wrong.
  returned: failure
  type: str
retry_after:
  description: How many seconds the server asks to wait, where that is longer than an hour in all.
  returned: failure
  type: int
server:
  description: The server that asks to wait.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import (
    ForecastError,
    expanded,
    make_forecasts,
    named,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB_OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **HUB_OPTIONS,
            "source": {"type": "str", "required": True},
            "recipes": {"type": "dict", "default": {}},
            "file_types": {"type": "list", "elements": "str", "default": []},
            "imatrix": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        source, forecasts = make_forecasts(
            expanded(params["source"]),
            params["recipes"],
            params["file_types"],
            expanded(params["imatrix"]),
            params["hub_token"],
            params["hub"],
        )
    except ServerBusy as error:
        module.fail_json(**error.facts)
    except ForecastError as error:
        module.fail_json(msg=str(error), argument=error.argument)
    facts = {"location": named(params["source"]), "bytes": source.size, "transferred": source.transferred}
    module.exit_json(changed=False, forecasts=forecasts, source=facts)


if __name__ == "__main__":
    main()
