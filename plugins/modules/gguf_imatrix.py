#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: an importance matrix of a text."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_imatrix
short_description: Prepare the making of an importance matrix, and publish the result
version_added: "0.2.0"
description:
  - The matrix is C(root/.imatrices/ID/imatrix.dat), and whole when its manifest C(imatrix.json) exists. The ID is made
    from the sha256 of source and text, O(context), O(chunks) and the engine's commit.
  - Tensors and experts that the text gave no data for are a warning, and in the manifest.
  - M(ik_llama.pi.gguf_imatrix_info) returns the state without changing anything.
options:
  source:
    description: Path of the GGUF file that runs over the text.
    type: str
    required: true
  state:
    description:
      - With V(prepared) the command that makes it is returned, unless the matrix is there. What interrupted attempts
        have left is removed, and free space is checked.
      - With V(published) the result of that command is checked and published. What is wrong is removed.
    type: str
    choices: [prepared, published]
    required: true
extends_documentation_fragment:
  - ik_llama.pi.options.evaluation
attributes:
  check_mode:
    support: full
    description: Reports that the matrix would be made, and changes nothing.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Prepare the importance matrix
  ik_llama.pi.gguf_imatrix:
    state: prepared
    root: /models
    source: /models/Qwen3.5-35B-A3B-Q8_0.gguf
    text: /texts/mine.txt
    engine_root: /opt/ik_llama
  register: matrix
"""

RETURN = r"""
id:
  description: The matrix's ID.
  returned: success, outside check mode
  type: str
path:
  description: Where it is, or will be.
  returned: success, outside check mode
  type: str
finished:
  description: Whether it is there.
  returned: success
  type: bool
manifest:
  description:
    - Its manifest, with C(size), C(sha256), C(entries), C(chunks), C(perplexity), C(source), C(text), C(engine) and
      C(coverage), which has the number of C(tensors) that can use an entry, the names of those that are C(lacking), and
      for each kind of tensor how many C(experts) there are and how many of them are C(without_data).
  returned: when it is finished
  type: dict
argv:
  description: The command that makes it. Missing where that command has ended and left its result.
  returned: when it is not finished, outside check mode
  type: list
  elements: str
chdir:
  description: Where that command must run.
  returned: when it is not finished, outside check mode
  type: str
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
  description: One word for what is wrong, like C(short), C(room) or C(ended).
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.calibration import calibration_result
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import EvaluationError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.measuring import OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "state": {"type": "str", "choices": ["prepared", "published"], "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = calibration_result(module.params, module.check_mode, module.warn)
    except EvaluationError as error:
        module.fail_json(msg=str(error), argument=error.argument, code=error.code)
    except OSError as error:
        module.fail_json(msg=str(error), argument="root", code="system")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
