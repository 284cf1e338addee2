#!/usr/bin/python
"""Ansible module virtual_board."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: virtual_board
short_description: Manage a virtual Pi on this machine
version_added: "0.2.0"
description:
  - With O(state=started) the machine runs, from a disk that holds what differs from the image. A machine that was made
    from another image, or with another size or port, is replaced by an empty one.
  - With O(state=stopped) it ends at once, as in a power cut. Its disk stays.
  - With O(state=absent) its disk is removed too.
options:
  state:
    description: Wanted state of the machine.
    type: str
    choices: [started, stopped, absent]
    default: started
  folder:
    description: Folder of the machine, with its disk, console.log, pid and the socket qmp.
    type: path
    required: true
  name:
    description: Name of the board, and its host name.
    type: str
  image:
    description: Folder with vmlinuz, initrd and root.ext4.
    type: path
  ssh_keys:
    description: Folder with the SSH host key and authorized_keys. The board can read it.
    type: path
  compiled:
    description: Folder that all boards share, for Ansible's modules in their compiled form. The board can write it.
    type: path
  ssh_port:
    description: Port on 127.0.0.1 where its SSH answers.
    type: int
  memory_mib:
    description: Its memory in MiB.
    type: int
    default: 3072
  cores:
    description: Its processor's cores.
    type: int
    default: 2
attributes:
  check_mode:
    support: full
    description: Reports what would change.
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: Start a virtual Pi
  ik_llama.lab.virtual_board:
    folder: /root/.cache/ik-llama-pi/lab/virtual/machines/pi-01
    name: pi-01
    image: /root/.cache/ik-llama-pi/virtual/0123456789ab
    ssh_keys: /root/.cache/ik-llama-pi/lab/virtual/boards/pi-01
    compiled: /root/.cache/ik-llama-pi/podman/zip
    ssh_port: 2231
"""

RETURN = r"""
running:
  description: Whether it was running before.
  returned: always
  type: bool
kvm:
  description: Whether this machine's processor is used. If not, one is emulated.
  returned: always
  type: bool
"""

import json
import os
import platform
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.lab.plugins.module_utils.virtual_pi import machine_id, qemu_arguments
from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json


def process(folder: Path) -> int:
    """Return the number of the machine's process, 0 if it does not run or the number belongs to another process now."""
    try:
        pid = int((folder / "pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if str(folder / "pid").encode() in words else 0


def stop(folder: Path) -> bool:
    """Cut the power, and wait until the process is gone. Return whether there was one."""
    pid = process(folder)
    if pid:
        os.kill(pid, signal.SIGKILL)
        while process(folder):
            time.sleep(0.05)
    return bool(pid)


def made_from(folder: Path) -> str:
    """Return the ID of the machine that has this disk, empty if there is none."""
    board: dict[str, Any] = read_json(folder / "board.json", {})
    return str(board.get("id", "")) if (folder / "disk.qcow2").exists() else ""


def start(module: AnsibleModule, folder: Path, kvm: bool) -> bool:
    """Ensure the machine runs. Return whether anything had to be done for that."""
    board = module.params
    board_id = machine_id(board)
    fresh = made_from(folder) != board_id
    if process(folder) and not fresh:
        return False
    if module.check_mode:
        return True
    if fresh:
        stop(folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        base = ["-b", f"{board['image']}/root.ext4", "-F", "raw"]
        module.run_command(
            ["qemu-img", "create", "-q", "-f", "qcow2", *base, str(folder / "disk.qcow2")], check_rc=True
        )
        write_file(folder / "board.json", json.dumps({"id": board_id}) + "\n")
    (folder / "pid").unlink(missing_ok=True)
    module.run_command(qemu_arguments(board, kvm), check_rc=True)
    return True


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
            "folder": {"type": "path", "required": True},
            "name": {"type": "str"},
            "image": {"type": "path"},
            "ssh_keys": {"type": "path", "no_log": False},
            "compiled": {"type": "path"},
            "ssh_port": {"type": "int"},
            "memory_mib": {"type": "int", "default": 3072},
            "cores": {"type": "int", "default": 2},
        },
        required_if=[("state", "started", ["name", "image", "ssh_keys", "compiled", "ssh_port"])],
        supports_check_mode=True,
    )
    folder = Path(module.params["folder"])
    running = bool(process(folder))
    kvm = platform.machine() == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)
    if module.params["state"] == "started":
        changed = start(module, folder, kvm)
    else:
        absent = module.params["state"] == "absent"
        changed = running or (absent and folder.exists())
        if not module.check_mode:
            stop(folder)
            if absent:
                shutil.rmtree(folder, ignore_errors=True)
    module.exit_json(changed=changed, running=running, kvm=kvm)


if __name__ == "__main__":
    main()
