#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the recipe with the least score for a GGUF file and a board."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_recipe_info
short_description: Find the recipe with the least score that a board can hold and read
version_added: "0.2.0"
description:
  - Reads the header of the source, no weights, and finds the type of each tensor so that the sum of what quantizing
    does to the answers is as small as memory and speed allow, by sensitivities that were measured for each tensor.
  - The recipe has few rules, by kinds of tensors and ranges of layers. How much worse it is than the best assignment of
    types to single tensors is part of the result.
  - Where a server asks to wait (C(Retry-After)), the action plugin of the same name shows for how long, waits, and runs
    the module again.
options:
  source:
    description: The GGUF file (of a split one its first part), by path, URL or C(hf://OWNER/NAME@REVISION/FILE).
    type: str
    required: true
  sensitivities:
    description: Data of a file of sensitivities; empty where none are known.
    type: dict
    default: {}
  by_bits:
    description: Use no sensitivities; every weight counts the same.
    type: bool
    default: false
  restrictions:
    description: Types that are left out, as mappings of C(types), C(reason) and C(source).
    type: list
    elements: dict
    default: []
  board:
    description:
      - C(memory_mib), C(reserve_mib), C(bandwidth_gbs), C(context), and what else of the server's options its memory
        depends on, as P(ik_llama.pi.forecast_board#filter) returns them.
    type: dict
    required: true
  tokens_per_second:
    description: At least so many tokens a second, by the board's bandwidth and with an empty context; V(0) for any.
    type: float
    default: 0
  tensor_bytes:
    description: At most so many bytes of tensors, besides what the memory takes; V(0) for as many.
    type: int
    default: 0
  title:
    description: Title of the recipe.
    type: str
    required: true
  origin:
    description: Origin of the recipe.
    type: str
    required: true
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
- name: Find a recipe
  ik_llama.pi.gguf_recipe_info:
    source: ~/models/Qwen3.5-35B-A3B-Q8_0.gguf
    sensitivities: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
    board:
      memory_mib: 15818
      reserve_mib: 1024
      bandwidth_gbs: 11
      context: 16384
    tokens_per_second: 7
    title: For my boards
    origin: solved
"""

RETURN = r"""
recipe:
  description: Data of the recipe, as of its file.
  returned: success
  type: dict
found:
  description:
    - C(tensor_bytes), C(bytes_per_token), C(tokens_per_second), number of C(rules), and C(limits) (bytes; 0 for none).
    - C(bound) is a score that no assignment of types can go below, C(loss) how much worse the recipe is (relative),
      C(free_score) the best that was found where each tensor has its best type.
    - C(estimate) has C(score), C(divergence), C(perplexity) and so on, as P(ik_llama.pi.forecast_estimates#filter).
  returned: success
  type: dict
curve:
  description:
    - Best scores for other limits, each with C(limit) (bytes read), C(tensor_bytes), C(bytes_per_token) and C(score).
  returned: success
  type: list
  elements: dict
left_out:
  description: Types that were not used, with the reason.
  returned: success
  type: dict
seconds:
  description: Processor time that solving and the trade-off took, without reading the source.
  returned: success
  type: float
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

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import ForecastError, expanded, open_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.search import SearchError, Wanted, find_recipe
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB_OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **HUB_OPTIONS,
            "source": {"type": "str", "required": True},
            "sensitivities": {"type": "dict", "default": {}},
            "by_bits": {"type": "bool", "default": False},
            "restrictions": {"type": "list", "elements": "dict", "default": []},
            "board": {"type": "dict", "required": True},
            "tokens_per_second": {"type": "float", "default": 0},
            "tensor_bytes": {"type": "int", "default": 0},
            "title": {"type": "str", "required": True},
            "origin": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        header = open_header(expanded(params["source"]), params["hub_token"], params["hub"])
        began = time.process_time()
        wanted = Wanted(
            params["board"],
            params["tokens_per_second"],
            params["tensor_bytes"],
            params["by_bits"],
            params["restrictions"],
        )
        result = find_recipe(header, params["sensitivities"], wanted, params["title"], params["origin"])
    except ServerBusy as error:
        module.fail_json(**error.facts)
    except (ForecastError, SearchError) as error:
        module.fail_json(msg=str(error), argument=error.argument)
    except GGUFError as error:
        module.fail_json(msg=str(error), argument="source")
    module.exit_json(changed=False, seconds=round(time.process_time() - began, 2), **result)


if __name__ == "__main__":
    main()
