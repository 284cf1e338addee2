#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what is there of a model and its sources, and what it will be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_model_info
short_description: Get the state of a quantized model, of its sources, and its forecast
version_added: "0.2.0"
description:
  - Returns whether the model that source, importance matrix, recipe and engine give is finished, what is still to be
    downloaded for it, and what it will be, tensor by tensor and to the byte. It changes nothing.
  - Of the source only the header is read, over HTTP by range requests. The model's ID is known only where the sha256
    of the sources is known without reading them whole; M(ik_llama.pi.gguf_model) notes it.
  - The importance matrix is read whole, unless the model is finished or the matrix is not on this host yet.
  - Fails where recipe or importance matrix do not fit the source, or the disk has no room. Tensors that could use an
    entry of the importance matrix, and have none, are a warning.
  - Where a server asks to wait (C(Retry-After)), the action plugin of the same name shows for how long, waits, and runs
    the module again.
options:
  source:
    description: The GGUF file to quantize (of a split one its first part), by path, URL or C(hf://OWNER/NAME@REVISION/FILE).
    type: str
    required: true
  imatrix:
    description: The importance matrix, named in the same ways. Empty where there is none.
    type: str
    default: ""
  imatrix_sha256:
    description: What its sha256 must be.
    type: list
    elements: str
    default: []
  engine_commit:
    description: Commit of the engine that will make the model. Empty for that of the release that C(current) names.
    type: str
    default: ""
extends_documentation_fragment:
  - ik_llama.pi.options.model
  - ik_llama.pi.options.hub
attributes:
  check_mode:
    support: full
    description: A source that does not exist yet is a warning, and the forecast is empty.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Get the state of the model
  ik_llama.pi.gguf_model_info:
    root: /models
    name: qwen3.5-35b-a3b
    recipe_name: mine
    recipe: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
    source: hf://owner/model@main/model-Q8_0.gguf
    imatrix: /models/imatrix.dat
    engine_root: /opt/ik_llama
  register: model
"""

RETURN = r"""
id:
  description: The model's ID. Empty where it is not known yet.
  returned: success
  type: str
manifest:
  description: The model's manifest. Empty where the model is not finished.
  returned: success
  type: dict
path:
  description: Where the model is, or will be. Empty where the ID is not known.
  returned: success
  type: str
pointed:
  description: Whether the recipe's link names this model.
  returned: success
  type: bool
forecast:
  description: What the model will be; the fields are those of M(ik_llama.pi.gguf_forecast_info), without C(kind).
  returned: success
  type: dict
source:
  description:
    - The source, with C(remote) (it is a URL), C(finished) (it need not be downloaded), C(path), C(files) (of a URL)
      and C(missing_bytes). Of each file C(name), C(size), C(sha256) and C(digest_from) (V(repository) or V(given)).
  returned: success
  type: dict
imatrix:
  description: The importance matrix, with the same fields.
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
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import ForecastError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model import ModelError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model_steps import MODEL_OPTIONS, model_facts
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB_OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **MODEL_OPTIONS,
            **HUB_OPTIONS,
            "source": {"type": "str", "required": True},
            "imatrix": {"type": "str", "default": ""},
            "imatrix_sha256": {"type": "list", "elements": "str", "default": []},
            "engine_commit": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        facts = model_facts(module.params, module.check_mode, module.warn)
    except ServerBusy as error:
        module.fail_json(**error.facts)
    except (ForecastError, ModelError) as error:
        module.fail_json(msg=str(error), argument=error.argument)
    except OSError as error:
        module.fail_json(msg=str(error), argument="root")
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
