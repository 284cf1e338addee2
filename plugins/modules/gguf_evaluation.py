#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the logits of a source, or the figures of one model."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_evaluation
short_description: Prepare the measuring of a model or of its source, and publish the result
version_added: "0.2.0"
description:
  - The logits of the source, which models are compared with, are C(root/.evaluations/ID/logits.bin), and whole when
    C(logits.json) exists. The figures of a model are in C(root/name/MODEL.evaluation.json), by the ID of the
    evaluation; its manifest is not touched.
  - The program that measures ends with 0 also where the disk became full or a value is no number. So its result is
    published only where the file has its full size and all figures are numbers.
  - M(ik_llama.pi.gguf_evaluate_info) returns the state without changing anything.
options:
  name:
    description: Name of the models.
    type: str
    required: true
  source:
    description: Path of the GGUF file that the models were made from.
    type: str
    required: true
  model:
    description: ID of the model that is compared with the source's logits. Empty for these logits themselves.
    type: str
    default: ""
  keep:
    description: The logits of how many evaluations stay, the newest ones. Figures stay in any case.
    type: int
    default: 1
  state:
    description:
      - With V(prepared) the command that measures is returned, unless the result is there. What interrupted attempts
        have left is removed, and free space is checked.
      - With V(published) the result of that command is checked and published. What is wrong is removed.
      - With V(cleared) logits that are not whole are removed, unless they are being written.
    type: str
    choices: [prepared, published, cleared]
    required: true
extends_documentation_fragment:
  - ik_llama.pi.options.evaluation
attributes:
  check_mode:
    support: full
    description: Reports that something would be measured, and changes nothing.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Prepare the measuring of a model
  ik_llama.pi.gguf_evaluation:
    state: prepared
    root: /models
    name: qwen3.5-35b-a3b
    model: 0123456789ab
    source: /models/Qwen3.5-35B-A3B-Q8_0.gguf
    text: /texts/wiki.test.raw
    chunks: 64
    engine_root: /opt/ik_llama
  register: evaluation
"""

RETURN = r"""
id:
  description: The evaluation's ID.
  returned: success, outside check mode
  type: str
finished:
  description: Whether the result is there.
  returned: success
  type: bool
result:
  description: The manifest of the logits, or the figures of the model.
  returned: when it is finished
  type: dict
argv:
  description: The command that measures. Missing where that command has ended and left its result.
  returned: when it is not finished, outside check mode
  type: list
  elements: str
steps:
  description: How many chunks it computes, at most.
  returned: when it is not finished, outside check mode
  type: int
job:
  description: Folder for the state of that command.
  returned: when it is not finished, outside check mode
  type: str
argument:
  description: The option that is wrong.
  returned: failure
  type: str
code:
  description: One word for what is wrong, like C(cut), C(nan), C(short), C(room) or C(ended).
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import EvaluationError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation_steps import evaluation_result
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.measuring import OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "name": {"type": "str", "required": True},
            "model": {"type": "str", "default": ""},
            "keep": {"type": "int", "default": 1},
            "state": {"type": "str", "choices": ["prepared", "published", "cleared"], "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = evaluation_result(module.params, module.check_mode)
    except EvaluationError as error:
        module.fail_json(msg=str(error), argument=error.argument, code=error.code)
    except OSError as error:
        module.fail_json(msg=str(error), argument="root", code="system")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
