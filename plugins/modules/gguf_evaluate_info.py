#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what was measured of the models of a quantizer, and what measuring the rest takes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_evaluate_info
short_description: Get what was measured of quantized models, and what measuring the rest takes
version_added: "0.2.0"
description:
  - Returns the finished models that recipes name, with their figures (KL divergence, perplexity, agreement of the most
    probable token with the source) for one text, and time and disk that the missing ones need. It changes nothing.
  - The evaluation's ID is made from the sha256 of source and text, O(context), O(chunks) and the engine's commit. The
    sha256 of the source is known without reading it whole where M(ik_llama.pi.gguf_model) or
    M(ik_llama.pi.gguf_evaluation) noted it.
  - Fails where text, source, engine or models are missing, the text is too short, or the disk has no room.
  - Where a server asks to wait (C(Retry-After)), the action plugin of the same name shows for how long, waits, and runs
    the module again.
options:
  name:
    description: Name of the models.
    type: str
    required: true
  recipes:
    description: Recipes whose models are meant. Empty for all that have one.
    type: list
    elements: str
    default: []
  source:
    description: The GGUF file that they were made from, by path, URL or C(hf://OWNER/NAME@REVISION/FILE).
    type: str
    required: true
  source_sha256:
    description: What its sha256 must be, where it is a URL that does not state it.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - ik_llama.pi.options.evaluation
  - ik_llama.pi.options.hub
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Get what was measured
  ik_llama.pi.gguf_evaluate_info:
    root: /models
    name: qwen3.5-35b-a3b
    source: /models/Qwen3.5-35B-A3B-Q8_0.gguf
    text: /texts/wiki.test.raw
    chunks: 64
    engine_root: /opt/ik_llama
  register: evaluation
"""

RETURN = r"""
id:
  description: The evaluation's ID. Empty where the sha256 of the source is not known.
  returned: success
  type: str
text:
  description: C(path), C(size) and C(sha256) of the text.
  returned: success
  type: dict
source:
  description: C(path), C(size) and C(sha256) of the source.
  returned: success
  type: dict
engine:
  description: C(commit) and C(id) of the engine release in use.
  returned: success
  type: dict
program:
  description: The program that measures, of that commit. Empty where it must be built.
  returned: success
  type: str
chunks:
  description: How many chunks are computed; where no logits are there yet, at most.
  returned: success
  type: int
logits:
  description:
    - The source's logits, with C(path), C(manifest) (empty where they are not there), and C(bytes) and C(seconds) that
      writing them takes, 0 where they need not be written.
  returned: success
  type: dict
models:
  description:
    - The models, with C(id), C(recipes), C(path), C(size), C(tensor_bytes), C(figures) (empty where nothing was
      measured) and C(seconds) that measuring takes.
  returned: success
  type: list
  elements: dict
left_out:
  description: Recipes without a finished model of this source, with C(recipe) and C(reason).
  returned: success
  type: list
  elements: dict
argument:
  description: The option that is wrong.
  returned: failure
  type: str
code:
  description: One word for what is wrong, like C(missing), C(short), C(room) or C(model).
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
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import EvaluationError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation_steps import evaluation_facts
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.measuring import OPTIONS
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB_OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            **HUB_OPTIONS,
            "name": {"type": "str", "required": True},
            "recipes": {"type": "list", "elements": "str", "default": []},
            "source_sha256": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        facts = evaluation_facts(module.params, module.warn)
    except ServerBusy as error:
        module.fail_json(**error.facts)
    except EvaluationError as error:
        module.fail_json(msg=str(error), argument=error.argument, code=error.code)
    except OSError as error:
        module.fail_json(msg=str(error), argument="root", code="system")
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
