#!/usr/bin/python
"""Ansible module lab_info."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: lab_info
short_description: Get what this machine has of the lab
version_added: "0.2.0"
description:
  - Reads the system's name, its package sources, installed packages, the ARM64 emulation, and the images and containers
    of the lab. It changes nothing.
options:
  cache:
    description: Folder of the lab. If it does not exist yet, the free space of its nearest parent is returned.
    type: path
    required: true
  programs:
    description: Programs that the lab calls.
    type: list
    elements: str
    default: []
  packages:
    description: Debian packages whose installed versions are returned.
    type: list
    elements: str
    default: []
  handler:
    description: Name under which the lab registers the emulator with the kernel.
    type: str
    required: true
  ports:
    description: Ports on 127.0.0.1 that may be in use.
    type: list
    elements: int
    default: []
  trees:
    description: Folders of which a digest is returned.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    support: full
    description: It changes nothing.
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: Read what this machine has of the lab
  ik_llama.lab.lab_info:
    cache: /root/.cache/ik-llama-pi
    handler: ik-llama-pi-aarch64
    programs: [podman]
  environment:
    CONTAINERS_STORAGE_CONF: /root/.cache/ik-llama-pi/podman/storage.conf
  register: lab
"""

RETURN = r"""
machine:
  description: >-
    cache, id, codename, architecture, root, programs_missing, versions (of installed packages),
    free_mib, apt_sources ({path: text}), apt_proxy (lines for apt.conf), certificates ({path: sha256}),
    ports_busy, binfmt_mounted, handler_registered, trees ({folder's name: sha256}), images, networks,
    containers ({name: {running, id, instance}}).
  returned: always
  type: dict
"""

import glob
import hashlib
import json
import os
import platform
import shutil
import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.lab.plugins.module_utils.lab import board_containers, missing
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import free_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_text

BINFMT = Path("/proc/sys/fs/binfmt_misc")


def system() -> dict[str, str]:
    """Return ID and VERSION_CODENAME of os-release."""
    lines = (line.partition("=") for line in read_text("/etc/os-release").splitlines())
    fields = {name: value.strip("\"'") for name, _, value in lines}
    return {"id": fields.get("ID", ""), "codename": fields.get("VERSION_CODENAME", "")}


def busy(port: int) -> bool:
    """Return whether a program listens on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def tree_digest(root: str) -> str:
    """Return the SHA-256 over names, modes and contents of all files below root."""
    total = hashlib.sha256()
    for path in sorted(Path(root).rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(root)}\0{path.stat().st_mode & 0o111:o}\0".encode())
            total.update(bytes.fromhex(sha256_file(path)))
    return total.hexdigest()


def installed_versions(module: AnsibleModule, packages: list[str]) -> dict[str, str]:
    """Return {package: version} of those that dpkg calls installed."""
    if not packages or not shutil.which("dpkg-query"):
        return {}
    shown = "${Package} ${db:Status-Status} ${Version}\n"
    output = module.run_command(["dpkg-query", "--show", f"--showformat={shown}", *packages])[1]
    words = (line.split() for line in output.splitlines())
    return {word[0]: word[2] for word in words if len(word) == 3 and word[1] == "installed"}


def podman_state(module: AnsibleModule) -> dict[str, Any]:
    """Return the lab's images, networks and containers; nothing if there is no podman or no lab yet."""
    settings = os.environ.get("CONTAINERS_STORAGE_CONF", "")
    if not shutil.which("podman") or not os.path.exists(settings):
        return {"images": [], "networks": [], "containers": {}}

    def ask(*words: str) -> Any:
        output = module.run_command(["podman", *words, "--format", "json"], check_rc=True)[1]
        return json.loads(output or "null") or []

    return {
        "images": sorted(name for image in ask("images") for name in image.get("Names") or []),
        "networks": sorted(network["name"] for network in ask("network", "ls")),
        "containers": board_containers(ask("ps", "--all"), lambda pid: os.path.exists(f"/proc/{pid}")),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cache": {"type": "path", "required": True},
            "programs": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "handler": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "default": []},
            "trees": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    sources = ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*.list")]
    sources += glob.glob("/etc/apt/sources.list.d/*.sources")
    proxy = ""
    if shutil.which("apt-config"):
        names = ["Acquire::http::Proxy", "Acquire::https::Proxy"]
        proxy = module.run_command(["apt-config", "dump", *names])[1]
    there = [name for name in params["programs"] if shutil.which(name)]
    machine = {
        **system(),
        **podman_state(module),
        "cache": params["cache"],
        "architecture": platform.machine(),
        "root": os.geteuid() == 0,
        "programs_missing": missing(params["programs"], there),
        "versions": installed_versions(module, params["packages"]),
        "free_mib": free_bytes(params["cache"]) >> 20,
        "apt_sources": {path: read_text(path) for path in sources},
        "apt_proxy": proxy,
        "certificates": {path: sha256_file(path) for path in glob.glob("/usr/local/share/ca-certificates/*.crt")},
        "ports_busy": [port for port in params["ports"] if busy(port)],
        "binfmt_mounted": (BINFMT / "register").exists(),
        "handler_registered": (BINFMT / params["handler"]).exists(),
        "trees": {Path(path).name: tree_digest(path) for path in params["trees"]},
    }
    module.exit_json(changed=False, machine=machine)


if __name__ == "__main__":
    main()
