#!/usr/bin/env python3
"""Inventory of a fleet on this machine: LAB_BOARDS boards (4), and with LAB_GATEWAY=1 a gateway before them.

Prints what Ansible's inventory plugin `script` reads.
"""

from __future__ import annotations

import json
import os

FIRST_PORT = 2221


def main() -> None:
    boards = [f"pi-{number:02}" for number in range(1, int(os.environ.get("LAB_BOARDS") or 4) + 1)]
    gateways = ["gateway"] if os.environ.get("LAB_GATEWAY") == "1" else []
    ports = {name: FIRST_PORT + position for position, name in enumerate(boards)}
    ports.update({name: FIRST_PORT - 1 for name in gateways})
    print(
        json.dumps(
            {
                "all": {
                    "children": ["containers", "quantizers", "builders"],
                    "vars": {"lab_host_boards": [{"name": name, "ssh_port": port} for name, port in ports.items()]},
                },
                "containers": {"children": ["pis", "gateways"]},
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
