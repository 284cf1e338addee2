#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: where a model is received on a board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_receive
short_description: Create the place where a model is received on a board
version_added: "0.2.0"
description:
  - Creates a folder below the model's own that the account with which Ansible logs in may write, and nobody else. So
    that account needs no privileges to copy the model, and nothing is received in another file system than the model's.
  - A copy that was interrupted is continued there.
  - M(ik_llama.pi.gguf_place) verifies what was received.
options:
  state:
    description:
      - V(present) creates the folder for the model.
      - V(tested) creates a folder for a test, next to where the model will be. V(absent) takes over the file C(test)
        that was received in it, and removes the folder.
    type: str
    choices: [present, tested, absent]
    default: present
  test_folder:
    description: The folder of the test, as it was returned. Needed to remove it.
    type: path
  account:
    description: User ID of the account that copies. The action plugin asks the host for the account of the login.
    type: int
extends_documentation_fragment:
  - ik_llama.pi.options.place
attributes:
  check_mode:
    support: partial
    details: It changes nothing but in a test.
    description: A test is made in check mode, too. V(present) changes nothing.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Create the folder that receives the model
  ik_llama.pi.gguf_receive:
    folder: /var/lib/llama/models/alphabet
    sha256: "{{ manifest.sha256 }}"
    size: "{{ manifest.size }}"
  register: received
"""

RETURN = """
account:
  description: User ID of the account that copies.
  returned: success
  type: int
part:
  description: The file to write.
  returned: unless absent
  type: str
test_folder:
  description: The folder of the test.
  returned: if tested
  type: str
login:
  description:
    - C(host), C(user) and C(port) to which Ansible logs in by SSH, empty where the program has its own default. The
      whole is empty with other connections.
  returned: success
  type: dict
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import existing_parent
from ansible_collections.ik_llama.pi.plugins.module_utils.common.takeover import TakeoverError, own_folder, take_over
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.placement import PLACE_OPTIONS, Placement

#: How the names of folders begin that a test makes.
TEST = ".ik-llama-pi-test-"


def tested(folder: Path, account: int) -> dict[str, Any]:
    """Create the folder of a test: in it one that the account may write."""
    made = Path(tempfile.mkdtemp(prefix=TEST, dir=existing_parent(folder)))
    made.chmod(0o755)
    own_folder(made / "incoming", account)
    return {"test_folder": str(made), "part": str(made / "incoming/test")}


def absent(made: Path, account: int) -> None:
    """Take over what was received, and remove the folder of a test. TakeoverError where that would fail later."""
    if not made.name.startswith(TEST):
        raise TakeoverError(f"{made}: is not the folder of a test")
    try:
        os.close(take_over(made / "incoming/test", account, made / "test"))
    except FileNotFoundError:  # the copy failed, and has said why
        pass
    finally:
        shutil.rmtree(made, ignore_errors=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **PLACE_OPTIONS,
            "state": {"type": "str", "choices": ["present", "tested", "absent"], "default": "present"},
            "test_folder": {"type": "path"},
            "account": {"type": "int"},
        },
        supports_check_mode=True,
        required_if=[("state", "absent", ["test_folder"])],
    )
    os.umask(0o022)  # whatever the login set: root's folders are entered by others
    params = module.params
    placement = Placement(Path(params["folder"]), params["sha256"], params["size"])
    account = params["account"] if params["account"] is not None else os.geteuid()
    found: dict[str, Any] = {}
    try:
        if params["state"] == "tested":
            found = tested(placement.path.parent, account)
        elif params["state"] == "absent":
            absent(Path(params["test_folder"]), account)
        else:
            found = {"part": str(placement.part)}
            if not module.check_mode:
                placement.receive(account)
    except (OSError, TakeoverError) as error:
        module.fail_json(msg=f"{placement.path.parent}: {error}")
    module.exit_json(changed=params["state"] == "present", account=account, **found)


if __name__ == "__main__":
    main()
