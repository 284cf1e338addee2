#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: one quantized model among the models of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_model
short_description: Prepare the quantizing of a model, and publish the result
description:
  - A model's ID is made from the sha256 of source and importance matrix, all of the recipe that reaches the engine, and
    the engine's commit, which is that of the release C(current) in O(engine_root). The model is C(root/name/ID.gguf),
    and finished when its manifest C(ID.json) exists. The link C(root/name/RECIPE.json) names the manifest of the
    model in use.
  - The sources are read whole only when they have changed since their sha256 was noted in C(root/.stamps).
  - M(ik_llama.pi.gguf_model_info) returns the state without changing anything.
  - Where a server asks to wait (C(Retry-After)), the action plugin of the same name shows for how long, waits, and runs
    the module again.
options:
  source:
    description:
      - The GGUF file to quantize, of a split one its first part. In check mode it may be a URL, and the forecast is
        made from what its server sends.
    type: str
    required: true
  imatrix:
    description: The importance matrix, in the engine's own form. Empty where there is none.
    type: str
    default: ""
  source_from:
    description: URL that the source was downloaded from, for the manifest.
    type: str
    default: ""
  imatrix_from:
    description: URL that the importance matrix was downloaded from, for the manifest.
    type: str
    default: ""
  engine_commit:
    description: Commit of the engine that would be there, for check mode.
    type: str
    default: ""
  threads:
    description: Threads that quantize; 0 for as many as the host has.
    type: int
    default: 0
  state:
    description:
      - With V(prepared) a finished model gets the recipe's link. For another one the command that makes it is returned,
        free space is checked, and what interrupted attempts have left is removed.
      - With V(published) the result of that command is compared with the forecast, tensor by tensor and in size. Only
        then it gets its name, its manifest and, last, the link. A file that differs is removed.
    type: str
    choices: [prepared, published]
    required: true
extends_documentation_fragment:
  - ik_llama.pi.options.model
  - ik_llama.pi.options.hub
attributes:
  check_mode:
    support: full
    description: Reports what would be made, and changes nothing.
  diff_mode:
    support: full
    description: Compares the tensors' types and sizes with those of the model in use.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Prepare the model
  ik_llama.pi.gguf_model:
    state: prepared
    root: /models
    name: qwen3.5-35b-a3b
    recipe_name: rpi5-16gb-card
    recipe: "{{ recipe }}"
    source: /models/Qwen3.5-35B-A3B-Q8_0.gguf
    imatrix: /models/imatrix.dat
    engine_root: /opt/ik_llama
  register: model
"""

RETURN = r"""
id:
  description: The model's ID. Empty in check mode where there is no engine yet.
  returned: success
  type: str
finished:
  description: Whether the model is finished.
  returned: success
  type: bool
path:
  description: Where it is, or will be.
  returned: when there is an ID
  type: str
argv:
  description: The command that makes it. Missing where that command has ended and left its result.
  returned: when it is not finished, outside check mode
  type: list
  elements: str
chdir:
  description: Where that command must run.
  returned: when it is not finished, outside check mode
  type: str
job:
  description: Folder for the state of that command.
  returned: when it is not finished, outside check mode
  type: str
sha256:
  description: The model's sha256.
  returned: when it is finished
  type: str
manifest:
  description: The model's manifest.
  returned: when it is finished
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
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import ForecastError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model import ModelError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model_steps import MODEL_OPTIONS, model_result
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB_OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **MODEL_OPTIONS,
            **HUB_OPTIONS,
            "source": {"type": "str", "required": True},
            "imatrix": {"type": "str", "default": ""},
            "source_from": {"type": "str", "default": ""},
            "imatrix_from": {"type": "str", "default": ""},
            "engine_commit": {"type": "str", "default": ""},
            "threads": {"type": "int", "default": 0},
            "state": {"type": "str", "choices": ["prepared", "published"], "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = model_result(module.params, module.check_mode, module.warn)
    except ServerBusy as error:
        module.fail_json(**error.facts)
    except (ForecastError, ModelError) as error:
        module.fail_json(msg=str(error), argument=error.argument)
    except OSError as error:
        module.fail_json(msg=str(error), argument="root")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
