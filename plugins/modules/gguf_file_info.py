#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what a GGUF file is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_file_info
short_description: Get what a GGUF file is, without fetching it
version_added: "0.2.0"
description:
  - Reads the header of a GGUF file, over HTTP by range requests, and returns the types of its tensors, the recipe that
    it follows, and numbers on which its memory and speed depend.
  - Fails for a file that is no model to serve (an importance matrix, an mmproj, an adapter, a vocabulary), and for a
    broken one.
  - Where a server asks to wait (C(Retry-After)), the action plugin of the same name shows for how long, waits, and runs
    the module again.
options:
  file:
    description: The GGUF file (of a split one its first part), by path, URL or C(hf://OWNER/NAME@REVISION/FILE).
    type: str
    required: true
  recipes:
    description: Recipes to compare it with, by name, each the data of its file.
    type: dict
    default: {}
  claim:
    description: Which of them the publisher's description is. Empty for none.
    type: str
    default: ""
  root:
    description: Folder of models on this host, where the sha256 of files that were verified is noted.
    type: path
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
- name: Get what a published file is
  ik_llama.pi.gguf_file_info:
    file: hf://owner/Qwen3.5-35B-A3B-GGUF@main/model.gguf
    recipes:
      mine: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
  register: file
"""

RETURN = r"""
location:
  description: The file, without what may be secret in a URL.
  returned: success
  type: str
bytes:
  description: Size of all parts.
  returned: success
  type: int
transferred:
  description: Bytes that came over a network for this.
  returned: success
  type: int
name:
  description: The model's name in the header, or empty.
  returned: success
  type: str
license:
  description: The model's license in the header, or empty.
  returned: success
  type: str
base_models:
  description: Addresses of the models that it was made from, as the header names them.
  returned: success
  type: list
  elements: str
chat_template:
  description: Whether there is a chat template in the header.
  returned: success
  type: bool
sha256:
  description:
    - Of each part C(name), C(sha256) as somebody states it, or empty, and C(by), who states it. V(repository) is the
      hub, V(stamp) is this project, which has verified the file.
  returned: success
  type: list
  elements: dict
tensor_groups:
  description: Of each kind of tensor C(group), C(type), number of C(tensors), C(bytes), and C(bits) for each weight.
  returned: success
  type: list
  elements: dict
bits:
  description: Bits for each weight in the mean.
  returned: success
  type: float
follows:
  description: Names of recipes and file types that give exactly these types.
  returned: success
  type: list
  elements: str
nearest:
  description:
    - The recipe or file type that differs least, if it does in at most half of the tensors that recipes decide;
      empty otherwise. C(name), C(kind) (V(recipe) or V(file type)), C(tensors), C(decided) (of them by a recipe),
      C(differ), and C(departures), a list of C(group), C(is), C(by_recipe) (types) and C(tensors).
  returned: success
  type: dict
claimed:
  description: The same for O(claim). Empty where there is none.
  returned: success
  type: dict
forecast:
  description: The fields of a forecast of M(ik_llama.pi.gguf_forecast_info), without C(kind) and C(exact).
  returned: success
  type: dict
argument:
  description: The option that is wrong.
  returned: failure
  type: str
code:
  description: A word for what is wrong with the file, like V(vocabulary), V(mmproj), V(adapter), V(magic), V(entry).
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

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import expanded, named
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.inspection import inspect
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import RecipeError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB_OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **HUB_OPTIONS,
            "file": {"type": "str", "required": True},
            "recipes": {"type": "dict", "default": {}},
            "claim": {"type": "str", "default": ""},
            "root": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    location = expanded(params["file"])
    root = Path(params["root"]) if params["root"] else None
    try:
        found = inspect(location, params["recipes"], params["claim"], params["hub_token"], params["hub"], root)
    except ServerBusy as error:
        module.fail_json(**error.facts)
    except RecipeError as error:
        module.fail_json(msg=str(error), argument="recipes", code="recipe")
    except FileNotFoundError as error:
        module.fail_json(msg=f"{error.filename} does not exist", argument="file", code="missing")
    except (OSError, GGUFError) as error:
        code = getattr(error, "code", "") or "unreadable"
        module.fail_json(msg=f"{named(location)}: {error}", argument="file", code=code)
    module.exit_json(changed=False, location=named(location), **found)


if __name__ == "__main__":
    main()
