#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The remote shell of an rsync that goes over Ansible's own SSH command. Needs nothing but Python.

rsync calls it as ``PROGRAM HOST COMMAND...``. HOST is ignored, because the SSH command names it already. In the
environment are:

- ``IK_LLAMA_SSH``: the SSH command and its arguments, the host being the last one, as JSON.
- ``_ANSIBLE_SSH_ASKPASS_SHM``, where there is a password: the name of the shared memory that holds it. ssh gets it by
  ``SSH_ASKPASS``, and sshpass by a pipe. The memory is removed when the copy ends, however it ends.
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


def secret(name: str) -> shared_memory.SharedMemory:
    """Return the shared memory, which stays when this process ends without removing it."""
    memory = shared_memory.SharedMemory(name=name)
    with contextlib.suppress(Exception):  # from Python 3.13 on it may be untracked already
        resource_tracker.unregister(memory._name, "shared_memory")  # type: ignore[attr-defined]
    return memory


def run(argv: list[str], memory: shared_memory.SharedMemory) -> int:
    """Run the SSH command with a password, and return its exit code."""
    passed: tuple[int, ...] = ()
    if os.path.basename(argv[0]) == "sshpass":
        buffer: Any = memory.buf
        password = json.loads(bytes(buffer).rstrip(b"\0"))["password"]
        readable, writable = os.pipe()
        os.write(writable, password.encode() + b"\n")
        os.close(writable)
        argv, passed = [argv[0], f"-d{readable}", *argv[2:]], (readable,)
    return subprocess.call(argv, pass_fds=passed)


def main(words: list[str]) -> int:
    argv = [*json.loads(os.environ[COMMAND]), *words[1:]]
    name = os.environ.get(SECRET)
    if not name:
        os.execvp(argv[0], argv)
    memory = secret(name)
    try:
        return run(argv, memory)
    finally:
        memory.close()
        with contextlib.suppress(FileNotFoundError):
            memory.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
