#!/usr/bin/env python3
"""Inventory of a fleet on this machine: LAB_BOARDS boards (4), and with LAB_GATEWAY=1 a gateway before them.

Their ports on 127.0.0.1 follow LAB_FLEET_PORT (2220), which is the gateway's own. Prints what Ansible's
inventory plugin `script` reads. How the boards are reached is that of group_vars/arm64_boards.yml, but written out, as
in the inventory of a user: a template is compiled again by each task on each host.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def main() -> None:
    boards = [f"pi-{number:02}" for number in range(1, int(os.environ.get("LAB_BOARDS") or 4) + 1)]
    gateways = ["gateway"] if os.environ.get("LAB_GATEWAY") == "1" else []
    first = int(os.environ.get("LAB_FLEET_PORT") or 2220)
    ports = {name: first + position for position, name in enumerate(boards, start=1)}
    ports.update(dict.fromkeys(gateways, first))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ik-llama-pi"
    instance = os.environ.get("LAB_FLEET") or "fleet"
    keys = cache / "lab" / instance
    print(
        json.dumps(
            {
                "all": {
                    "children": ["native_containers", "quantizers", "builders"],
                    "vars": {
                        "lab_host_instance": instance,
                        "lab_host_architecture": "native",
                        "lab_host_boards": [{"name": name, "ssh_port": port} for name, port in ports.items()],
                    },
                },
                "native_containers": {
                    "children": ["native_boards", "gateways"],
                    "vars": {
                        "ansible_host": "127.0.0.1",
                        "ansible_user": "pi",
                        "ansible_become": True,
                        "ansible_python_interpreter": "/usr/bin/python3",
                        "ansible_ssh_private_key_file": str(keys / "key/id_ed25519"),
                        # The lab made the boards' host keys itself, so the first connection is checked as strictly
                        # as every later one.
                        "ansible_ssh_common_args": (
                            f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={keys}/known_hosts "
                            "-o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes"
                        ),
                    },
                },
                "native_boards": {"children": ["pis"]},
                "pis": {"hosts": boards},
                "gateways": {"hosts": gateways},
                "quantizers": {"hosts": ["localhost"]},
                "builders": {"hosts": ["localhost"]},
                "_meta": {"hostvars": {name: {"ansible_port": port} for name, port in ports.items()}},
            }
        )
    )


if __name__ == "__main__":
    main()
