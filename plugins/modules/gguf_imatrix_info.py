#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: whether the importance matrix of a text is there, and what making it takes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_imatrix_info
short_description: Get whether the importance matrix of a text is there, and what making it takes
version_added: "0.2.0"
description:
  - Returns the manifest of the importance matrix that source, text, O(context), O(chunks) and engine give, or time and
    disk that making it takes. It changes nothing.
  - Fails where text, source or engine are missing, the text is too short, or the disk has no room.
  - Where a server asks to wait (C(Retry-After)), the action plugin of the same name shows for how long, waits, and runs
    the module again.
options:
  source:
    description: The GGUF file that runs over the text, by path, URL or C(hf://OWNER/NAME@REVISION/FILE).
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
- name: Get the state of the importance matrix
  ik_llama.pi.gguf_imatrix_info:
    root: /models
    source: /models/Qwen3.5-35B-A3B-Q8_0.gguf
    text: /texts/mine.txt
    engine_root: /opt/ik_llama
  register: matrix
"""

RETURN = r"""
id:
  description: The matrix's ID. Empty where the sha256 of the source is not known.
  returned: success
  type: str
path:
  description: Where the matrix is, or will be.
  returned: success
  type: str
manifest:
  description: Its manifest, empty where it is not there; the fields are those of M(ik_llama.pi.gguf_imatrix).
  returned: success
  type: dict
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
  description: The program that makes it, of that commit. Empty where it must be built.
  returned: success
  type: str
chunks:
  description: How many chunks are computed, at most.
  returned: success
  type: int
bytes:
  description: Disk space that it takes, 0 where it is there.
  returned: success
  type: int
seconds:
  description: How long it may take, computed; 0 where it is there.
  returned: success
  type: int
argument:
  description: The option that is wrong.
  returned: failure
  type: str
code:
  description: One word for what is wrong, like C(missing), C(short) or C(room).
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
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.calibration import calibration_facts
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import EvaluationError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.measuring import OPTIONS
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB_OPTIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            **HUB_OPTIONS,
            "source_sha256": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        facts = calibration_facts(module.params, module.warn)
    except ServerBusy as error:
        module.fail_json(**error.facts)
    except EvaluationError as error:
        module.fail_json(msg=str(error), argument=error.argument, code=error.code)
    except OSError as error:
        module.fail_json(msg=str(error), argument="root", code="system")
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
