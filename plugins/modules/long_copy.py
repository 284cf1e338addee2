#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin long_copy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: long_copy
short_description: Copy a large file over Ansible's own connection, resumed and with progress
version_added: "0.2.0"
description:
  - Copies one file between the machine that runs Ansible and a host. The connection is the one that Ansible has
    resolved for the host, with its program, arguments, user, port, keys, passwords and proxies. Nothing is put together
    from variables.
  - Over SSH it is rsync, which continues a file that is there in part. It runs as the user of the login, without other
    privileges. It goes on when the controller ends, and running the task again attaches to it. A connection that breaks
    is tried again as often as C(ansible_ssh_retries) says.
  - With C(ansible_connection=local) it is C(cp), which shares the data where the file system can do that.
  - Other connections copy by themselves, from the start and without progress. Those of network devices and of Windows
    are refused.
options:
  name:
    description: Name of the copy in progress lines.
    type: str
    required: true
  src:
    description: The file.
    type: path
    required: true
  dest:
    description: The copy, in a folder that the user of the login may write.
    type: path
    required: true
  direction:
    description: Whether O(dest) or O(src) is on the host. The other one is on the machine that runs Ansible.
    type: str
    choices: [to_host, from_host]
    default: to_host
  directory:
    description: Folder on the machine that runs Ansible, for the log and the state of the copy.
    type: path
    required: true
  expect:
    description: Time and disk space that the copy needs, as text. It is shown when it starts.
    type: str
    default: ""
  test:
    description: Copy a few bytes instead of O(src), in the same way, also in check mode.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Reports that it would copy, and copies nothing.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Copy the model
  ik_llama.pi.long_copy:
    name: model 0123456789ab
    src: ~/models/0123456789ab.gguf
    dest: /home/pi/0123456789ab.gguf
    directory: ~/.cache/copies/pi-01
"""

RETURN = r"""
transport:
  description: C(ssh), C(local) or the name of the connection plugin that copied.
  type: str
  returned: always
rc:
  description: Exit code of the command.
  type: int
  returned: with ssh and local
log:
  description: Path of the whole log.
  type: str
  returned: with ssh and local
seconds:
  description: Wall time of the copy.
  type: float
  returned: success
code:
  description: One word for what is in the way, like C(transport), C(program) or C(busy).
  type: str
  returned: failure
"""
