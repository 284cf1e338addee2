#!/usr/bin/python
"""Ansible module: an importance matrix in the form that the engine reads."""

from __future__ import annotations

DOCUMENTATION = r"""
module: imatrix_legacy
short_description: Has an importance matrix in the form that ik_llama.cpp reads
description:
  - An importance matrix in the engine's legacy form stays where it is. One in GGUF form is converted, once, into a
    folder named by its content; see module_utils/imatrix.py for what is computed.
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
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: Have it in the engine's form
  imatrix_legacy:
    path: /models/imatrix.gguf
    root: /models
  register: matrix
"""

RETURN = r"""
path:
  description: The importance matrix in legacy form; in check mode it may not be there yet.
  returned: success
  type: str
argument:
  description: Which option is wrong, as C(imatrix) or C(imatrix_sha256).
  returned: failure
  type: str
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import stamped_sha256
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import ImatrixError, is_gguf, write_legacy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import fetched_folder, make_folder, stamp_path


class WrongSum(ValueError):
    """The file has another sha256 than was given."""


def legacy(path: Path, given: str, root: Path, check: bool) -> tuple[Path, bool]:
    """Where the matrix is, or will be, in legacy form, and whether it had to be made.

    Raises WrongSum, ImatrixError and OSError.
    """
    with path.open("rb") as file:
        if not check:
            make_folder(root / ".stamps")
        sha256, _ = stamped_sha256(path, stamp_path(root, path), not check)
        if given and sha256 != given.lower():
            raise WrongSum(f"its sha256 is {sha256}, not {given}; get it again, or correct the number")
        if not is_gguf(file):
            return path, False
        target = fetched_folder(root, sha256) / (path.name.removesuffix(".gguf") + ".dat")
        if target.is_file() or check:
            return target, not target.is_file()
        make_folder(target.parent)
        beside = target.with_name(target.name + ".part")
        with beside.open("wb") as out:
            write_legacy(file, path.stat().st_size, out)
            out.flush()
            os.fsync(out.fileno())
        beside.chmod(0o644)
        beside.replace(target)
    return target, True


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
