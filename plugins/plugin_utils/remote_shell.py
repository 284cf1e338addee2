#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The remote shell of an rsync that goes over Ansible's own SSH command. Needs nothing but Python.

rsync calls it as ``PROGRAM HOST COMMAND...``. HOST is ignored, because the SSH command names it already. In the
environment are:

- ``IK_LLAMA_SSH``: the SSH command and its arguments, the host being the last one, as JSON.
- ``_ANSIBLE_SSH_ASKPASS_SHM``, where there is a password: the name of the shared memory that holds it. ssh gets it by
  ``SSH_ASKPASS``, and sshpass by a pipe. The memory is removed when the copy ends, however it ends.

What the account's shell prints before the command (a greeting in ``.bashrc``, in whatever shell) is passed over, as
Ansible passes it over before the results of its modules: rsync would take it for its protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from multiprocessing import resource_tracker, shared_memory
from typing import Any

COMMAND = "IK_LLAMA_SSH"
SECRET = "_ANSIBLE_SSH_ASKPASS_SHM"
#: What the command's output comes after. Every shell has printf, and rsync's protocol nothing like it before its first
#: words.
BEGINS = b"ik-llama-pi: the copy begins"
#: Bytes of a greeting; what is longer is no greeting.
GREETING = 1 << 20


def secret(name: str) -> shared_memory.SharedMemory:
    """Return the shared memory, which stays when this process ends without removing it."""
    memory = shared_memory.SharedMemory(name=name)
    with contextlib.suppress(Exception):  # from Python 3.13 on it may be untracked already
        resource_tracker.unregister(memory._name, "shared_memory")  # type: ignore[attr-defined]
    return memory


def password_pipe(memory: shared_memory.SharedMemory) -> int:
    """Return the end of a pipe from which sshpass reads the password."""
    buffer: Any = memory.buf
    password = json.loads(bytes(buffer).rstrip(b"\0"))["password"]
    readable, writable = os.pipe()
    os.write(writable, password.encode() + b"\n")
    os.close(writable)
    return readable


def run(argv: list[str], passed: tuple[int, ...] = ()) -> int:
    """Run the SSH command, pass on what it prints after BEGINS, and return its exit code."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, pass_fds=passed) as ssh:
        assert ssh.stdout is not None
        output, greeting = ssh.stdout.fileno(), b""
        while BEGINS not in greeting and len(greeting) < GREETING and (data := os.read(output, 1 << 16)):
            greeting += data
        data = greeting.partition(BEGINS)[2]
        try:
            while data or (data := os.read(output, 1 << 20)):
                data = data[os.write(1, data) :]
        except BrokenPipeError:
            ssh.terminate()
    return ssh.returncode


def main(words: list[str]) -> int:
    argv = [*json.loads(os.environ[COMMAND]), f"printf '{BEGINS.decode()}';", *words[1:]]
    name = os.environ.get(SECRET)
    if not name:
        return run(argv)
    memory = secret(name)
    try:
        if os.path.basename(argv[0]) != "sshpass":
            return run(argv)
        pipe = password_pipe(memory)
        return run([argv[0], f"-d{pipe}", *argv[2:]], (pipe,))
    finally:
        memory.close()
        with contextlib.suppress(FileNotFoundError):
            memory.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
