# SPDX-License-Identifier: Apache-2.0
"""Filters for connections by SSH that Ansible does not make itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any


def _shell(host: Mapping[str, Any], *options: str) -> str:
    words = ["ssh", *options]
    if host.get("ansible_port"):
        words += ["-p", str(host["ansible_port"])]
    ssh_key = host.get("ansible_ssh_private_key_file") or host.get("ansible_private_key_file")
    if ssh_key:
        words += ["-i", str(ssh_key)]
    arguments = [host.get("ansible_ssh_common_args"), host.get("ansible_ssh_extra_args")]
    return " ".join([shlex.join(words), *(str(argument) for argument in arguments if argument)])


def rsync_shell(host: Mapping[str, Any]) -> str:
    """Return the remote shell for `rsync -e`, from a host's inventory variables. Host keys are always checked."""
    return _shell(host, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes")


def rsync_address(host: Mapping[str, Any]) -> str:
    """Return `user@address` of a host, or `address` where no user is set; IPv6 addresses in brackets."""
    address = str(host.get("ansible_host") or host["inventory_hostname"])
    if ":" in address:
        address = f"[{address}]"
    user = host.get("ansible_user")
    return f"{user}@{address}" if user else address


def ssh_command(host: Mapping[str, Any], *command: str) -> list[str]:
    """Return the command line that runs a command on a host, or fails to connect within ten seconds."""
    address = rsync_address(host).replace("[", "").replace("]", "")
    return [*shlex.split(rsync_shell(host)), "-o", "ConnectTimeout=10", address, *command]


def ssh_login(host: Mapping[str, Any]) -> str:
    """Return the command that logs in to a host, for people; empty where none is needed."""
    if host.get("ansible_connection", "ssh") == "local":
        return ""
    return f"{_shell(host)} {shlex.quote(rsync_address(host).replace('[', '').replace(']', ''))}"


def serving(served: Mapping[str, str], host: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table at the end of a run says of a board: `model`, `url`, `api_key` and `ssh`.

    Args:
        served: how its server is asked, as llama_deployment says it.
        host: the variables of the board.
    """
    url = str(served["url"])
    if served["address"] in ("0.0.0.0", "::") and host.get("ansible_connection", "ssh") != "local":
        address = str(host.get("ansible_host") or host["inventory_hostname"])
        url = f"http://{f'[{address}]' if ':' in address else address}:{url.rpartition(':')[2]}"
    return {
        "model": str(served["alias"]),
        "url": url,
        "api_key": bool(served["api_key_file"]),
        "ssh": ssh_login(host),
    }


def serving_boards(hosts: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return `serving` of each board, by its name, without those that a rollout left out or took back.

    hosts: their variables, with the plan of role `llama_server`.
    """
    return {
        str(host["inventory_hostname"]): serving(host["llama_server_plan"], host)
        for host in hosts
        if not host["llama_server_plan"]["change"] or host.get("serve_outcome")
    }


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "rsync_shell": rsync_shell,
            "rsync_address": rsync_address,
            "serving_boards": serving_boards,
            "ssh_command": ssh_command,
            "ssh_login": ssh_login,
        }
