#!/usr/bin/python
"""Ansible module: what this board is, in one look."""

from __future__ import annotations

DOCUMENTATION = """
---
module: board_facts
short_description: What this board is, in one look
description:
  - Reads what the roles need to know of a board from the kernel's and dpkg's own files.
  - Returns it as the fact C(pi_base_board), so that later roles need not look again.
options:
  disk_path:
    description: Folder whose file system is looked at. Where it does not exist yet, its nearest parent.
    type: path
    default: /var/lib
  packages:
    description: Debian packages that should be there.
    type: list
    elements: str
    default: []
author: ik-llama-pi
"""

EXAMPLES = """
- name: Look at the board
  board_facts:
    packages: [rsync]
"""

RETURN = """
ansible_facts:
  description: The board, under C(pi_base_board).
  returned: always
  type: dict
  contains:
    pi_base_board:
      type: dict
      description: >-
        model (device tree, empty where there is none), architecture, cores, cpu_features,
        memory_mib, page_size, kernel, disk_path, disk_free_mib, packages_missing.
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.board import cpu_features, installed_packages, meminfo_mib


def read(path: str) -> str:
    """Text of a file, empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def existing_parent(path: str) -> str:
    """The path itself, or its nearest parent that exists."""
    where = Path(path)
    while not where.exists():
        where = where.parent
    return str(where)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "disk_path": {"type": "path", "default": "/var/lib"},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    disk = os.statvfs(existing_parent(module.params["disk_path"]))
    wanted = module.params["packages"]
    there = installed_packages(read("/var/lib/dpkg/status"), wanted)
    uname = os.uname()
    board = {
        "model": read("/proc/device-tree/model").rstrip("\0\n"),
        "architecture": uname.machine,
        "kernel": uname.release,
        "cores": os.cpu_count(),
        "cpu_features": cpu_features(read("/proc/cpuinfo")),
        "memory_mib": meminfo_mib(read("/proc/meminfo")),
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "disk_path": module.params["disk_path"],
        "disk_free_mib": disk.f_bavail * disk.f_frsize >> 20,
        "packages_missing": sorted(set(wanted) - set(there)),
    }
    module.exit_json(changed=False, ansible_facts={"pi_base_board": board})


if __name__ == "__main__":
    main()
