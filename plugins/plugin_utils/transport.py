# SPDX-License-Identifier: Apache-2.0
"""How files reach a host: over the connection that Ansible has resolved for it, never one made up from variables.

The SSH command is that of ``ansible.builtin.ssh`` (ansible-core 2.19, `lib/ansible/plugins/connection/ssh.py`):
program, arguments, user, port, keys, proxies, multiplexing, and the password by its own mechanism.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from dataclasses import dataclass, field
from multiprocessing import resource_tracker, shared_memory
from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils import remote_shell

#: --append sends what is missing and compares nothing: a new file is sent whole, a partial one is continued. A copy has
#: stalled after 120 seconds without a byte.
RSYNC = ["rsync", "--append", "--inplace", "--progress", "--stats", "--timeout=120"]
#: Connections that cannot put a file of any size in its place.
REFUSED = ("httpapi", "netconf", "network_cli", "psrp", "winrm")


@dataclass(frozen=True)
class Transport:
    """`kind`: ssh, local or put_file. For ssh `argv` is the command that logs in, and `environment` what it needs."""

    kind: str
    argv: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def remote_shell(self) -> dict[str, str]:
        """Return the environment of an rsync that goes this way, or of `remote_shell.py` itself."""
        program = shlex.join([sys.executable, "-I", remote_shell.__file__])
        return {
            **os.environ,
            **self.environment,
            remote_shell.COMMAND: json.dumps(self.argv),
            "RSYNC_RSH": program,
        }

    def forget(self) -> None:
        """Remove the password from memory, where the copy has not done so."""
        if name := self.environment.get(remote_shell.SECRET):
            with contextlib.suppress(FileNotFoundError):
                memory = shared_memory.SharedMemory(name=name)
                memory.close()
                memory.unlink()


def name(connection: Any) -> str:
    """Return the short name of a connection plugin."""
    return str(connection.transport).rpartition(".")[2]


def problem(connection: Any) -> str:
    """Return why no file can be copied over this connection, empty if it can."""
    if name(connection) in REFUSED:
        return f"a model cannot be copied over a connection of the kind {name(connection)!r} (ansible_connection)"
    return ""


def login(connection: Any) -> dict[str, str]:
    """Return `host`, `user` and `port` of an SSH connection, for a program that logs in by itself; else nothing."""
    if name(connection) != "ssh":
        return {}
    host = connection.get_option("host") or connection._play_context.remote_addr
    user, port = connection.get_option("remote_user"), connection.get_option("port")
    return {"host": str(host), "user": str(user or ""), "port": str(port or "")}


def transport(connection: Any) -> Transport:
    """Return how files go over this connection, whose options are set."""
    if name(connection) in ("ssh", "local"):
        return _ssh(connection) if name(connection) == "ssh" else Transport("local")
    return Transport("put_file")


def _ssh(connection: Any) -> Transport:
    connection.host = connection.get_option("host") or connection._play_context.remote_addr
    words = connection._build_command(connection.get_option("ssh_executable"), "ssh", connection.host)
    # No terminal, which would change what goes through it; a user's settings may ask for one (RequestTTY, -tt).
    argv = [*(word.decode() for word in words[:-1]), "-T", words[-1].decode()]
    password = connection.get_option("password") or connection._play_context.password
    if connection.sshpass_pipe:
        # It is a pipe of this process; the copy's is made by remote_shell.py.
        for end in connection.sshpass_pipe:
            os.close(end)
        connection.sshpass_pipe = None
        return Transport("ssh", argv, {remote_shell.SECRET: _remembered(str(password))})
    return Transport("ssh", argv, _askpass(connection))


def _askpass(connection: Any) -> dict[str, str]:
    """Return what ssh needs to ask Ansible for the password, empty where it needs none."""
    environment = connection._init_shm().get("env", {})
    if connection.shm:
        _untrack(connection.shm)
        connection.shm = None
    return {key: value for key, value in environment.items() if os.environ.get(key) != value}


def _remembered(password: str) -> str:
    """Return the name of a new shared memory with the password in it."""
    data = json.dumps({"password": password}).encode()
    memory = shared_memory.SharedMemory(create=True, size=len(data))
    buffer: Any = memory.buf
    buffer[: len(data)] = data
    _untrack(memory)
    memory.close()
    return memory.name


def _untrack(memory: Any) -> None:
    """Keep the memory when this process ends: a copy may outlive it, and removes the memory at its end."""
    with contextlib.suppress(Exception):  # from Python 3.13 on Ansible does not track it
        resource_tracker.unregister(memory._name, "shared_memory")
