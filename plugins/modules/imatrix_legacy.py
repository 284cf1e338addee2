#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: an importance matrix in the form that the engine reads."""

from __future__ import annotations

DOCUMENTATION = r"""
module: imatrix_legacy
short_description: Convert an importance matrix to the form that ik_llama.cpp reads
description:
  - An importance matrix in the engine's legacy form stays where it is. One in GGUF form is converted, once, into a
    folder named by its content. How it is converted is described in C(plugins/module_utils/gguf/imatrix.py).
options:
  path:
    description: The importance matrix, in either form.
    type: path
    required: true
  sha256:
    description: What its sha256 must be. Empty where that is not known.
    type: str
    default: ""
  root:
    description: Folder of all models, where the converted one is kept.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Reports whether it would be converted, and changes nothing.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Convert the importance matrix
  ik_llama.pi.imatrix_legacy:
    path: /models/imatrix.gguf
    root: /models
  register: matrix
"""

RETURN = r"""
path:
  description: The importance matrix in legacy form. In check mode it may not exist yet.
  returned: success
  type: str
argument:
  description: The option that is wrong, as V(imatrix) or V(imatrix_sha256).
  returned: failure
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import ImatrixError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix_store import WrongSum, legacy


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "sha256": {"type": "str", "default": ""},
            "root": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    path = Path(params["path"])
    try:
        found, changed = legacy(path, params["sha256"], Path(params["root"]), module.check_mode)
    except WrongSum as error:
        module.fail_json(msg=f"{path}: {error}", argument="imatrix_sha256")
    except (OSError, ImatrixError) as error:
        module.fail_json(msg=f"{path}: {error}", argument="imatrix")
    module.exit_json(changed=changed, path=str(found))


if __name__ == "__main__":
    main()
