#!/usr/bin/python
"""Ansible module: a file's sha256, computed only when the file has changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_stamp
short_description: The sha256 of a large file, computed only when the file has changed
description:
  - Notes size, modification time and sha256 of a file in a stamp beside it. As long as size and time agree the file is
    not read again. In check mode the stamp is not written.
options:
  path:
    description: The file.
    type: path
    required: true
  stamp:
    description: Where the stamp is kept. By default the file's name with C(.stamp) behind it.
    type: path
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: Know the source
  file_stamp:
    path: /models/source.gguf
  register: source
"""

RETURN = r"""
exists:
  description: Whether the file is there.
  returned: always
  type: bool
size:
  description: Its size in bytes.
  returned: when it is there
  type: int
mtime:
  description: When it was last modified, in seconds since 1970.
  returned: when it is there
  type: float
sha256:
  description: Its sha256.
  returned: when it is there
  type: str
read:
  description: Whether the file had to be read.
  returned: when it is there
  type: bool
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import stamped_sha256


def main() -> None:
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "required": True}, "stamp": {"type": "path"}},
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    stamp = Path(module.params["stamp"] or f"{path}.stamp")
    if not path.is_file():
        module.exit_json(changed=False, exists=False)
    try:
        sha256, read = stamped_sha256(path, stamp, keep=not module.check_mode)
    except OSError as error:
        module.fail_json(msg=f"{path}: {error}")
    status = path.stat()
    module.exit_json(
        changed=read,
        exists=True,
        size=status.st_size,
        mtime=status.st_mtime,
        sha256=sha256,
        read=read,
    )


if __name__ == "__main__":
    main()
