#!/usr/bin/env python3
"""Print the inventory of a fleet on this machine: LAB_BOARDS boards (4), and a gateway if LAB_GATEWAY is 1.

The board that LAB_BOOKWORM names has Debian 12, the others have Debian 13.

The gateway has port LAB_FLEET_PORT (2220) on 127.0.0.1, the boards have the ports after it. The output is for Ansible's
inventory plugin `script`. Connections are those of group_vars/arm64_boards.yml, but written out as in a user's
inventory: each task compiles a template again on each host.
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
    suites = {name: {"suite": "bookworm"} for name in os.environ.get("LAB_BOOKWORM", "").split()}
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
                        "lab_host_boards": [
                            {"name": name, "ssh_port": port, **suites.get(name, {})} for name, port in ports.items()
                        ],
                    },
                },
                "native_containers": {
                    "children": ["native_boards", "gateways"],
                    "vars": {
                        "ansible_host": "127.0.0.1",
                        "ansible_user": "ada",
                        "ansible_become": True,
                        "ansible_become_password": "of the lab",
                        "ansible_python_interpreter": "/usr/bin/python3",
                        "ansible_ssh_private_key_file": str(keys / "key/id_ed25519"),
                        # The lab created the boards' SSH host keys, so the first connection is checked as strictly
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
