# SPDX-License-Identifier: Apache-2.0
"""Filters for connections by SSH that Ansible does not make itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils.transport import RSYNC

#: Of a login that asks nobody anything.
_UNATTENDED = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10"]


def _port(login: Mapping[str, Any]) -> list[str]:
    return ["-p", str(login["port"])] if login.get("port") else []


def _address(login: Mapping[str, Any]) -> str:
    return f"{login['user']}@{login['host']}" if login.get("user") else str(login["host"])


def ssh_command(login: Mapping[str, Any], *command: str) -> list[str]:
    """Return the command line that runs a command on a host by the SSH keys and settings of whoever runs it.

    login: `host`, `user` and `port`, as action `gguf_receive` returns it.
    """
    return [*_UNATTENDED, *_port(login), _address(login), *command]


def rsync_shell(login: Mapping[str, Any]) -> str:
    """Return the remote shell for `rsync -e` that logs in as `ssh_command` does."""
    return shlex.join([*_UNATTENDED, *_port(login)])


def rsync_address(login: Mapping[str, Any]) -> str:
    """Return `user@address` for rsync, or `address` where no user is set; IPv6 addresses in brackets."""
    host = f"[{login['host']}]" if ":" in str(login["host"]) else login["host"]
    return _address({**login, "host": host})


def rsync_command(login: Mapping[str, Any], src: str, dest: str) -> list[str]:
    """Return the command line that copies a file to a host, or the rest of it, and logs in as `ssh_command` does."""
    return [*RSYNC, f"--rsh={rsync_shell(login)}", "--", src, f"{rsync_address(login)}:{dest}"]


def ssh_login(host: Mapping[str, Any]) -> str:
    """Return the command that logs in to a host, for people; empty where none is needed. `host`: its variables."""
    if host.get("ansible_connection", "ssh") == "local":
        return ""
    words = ["ssh"]
    if host.get("ansible_port"):
        words += ["-p", str(host["ansible_port"])]
    if ssh_key := host.get("ansible_ssh_private_key_file") or host.get("ansible_private_key_file"):
        words += ["-i", str(ssh_key)]
    arguments = [host.get("ansible_ssh_common_args"), host.get("ansible_ssh_extra_args")]
    address = _address(
        {"host": host.get("ansible_host") or host["inventory_hostname"], "user": host.get("ansible_user")}
    )
    return " ".join([shlex.join(words), *(str(found) for found in arguments if found), shlex.quote(address)])


def serving(served: Mapping[str, str], host: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table at the end of a run says of a board: `model`, `url`, `api_key`, `ssh` and `unreached`.

    Args:
        served: how its server is asked, as llama_deployment says it.
        host: the variables of the board; `report_asked` is what the controller got from its URL, where it was asked.
    """
    url, asked = str(served["url"]), host.get("report_asked") or {}
    if served["address"] in ("0.0.0.0", "::") and host.get("ansible_connection", "ssh") != "local":
        address = str(host.get("ansible_host") or host["inventory_hostname"])
        url = f"http://{f'[{address}]' if ':' in address else address}:{url.rpartition(':')[2]}"
    return {
        "model": str(served["alias"]),
        "url": url,
        "api_key": bool(served["api_key_file"]),
        "ssh": ssh_login(host),
        "unreached": " ".join(str(asked.get("msg", "")).split()) if asked.get("status", 200) != 200 else "",
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
            "rsync_command": rsync_command,
            "serving_boards": serving_boards,
            "ssh_command": ssh_command,
            "ssh_login": ssh_login,
        }
