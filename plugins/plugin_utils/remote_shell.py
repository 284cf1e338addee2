# SPDX-License-Identifier: Apache-2.0
"""The remote shell of an rsync that goes over Ansible's own SSH command. Needs nothing but Python.

rsync calls it as ``PROGRAM HOST COMMAND...``. HOST is ignored, because the SSH command names it already. In the
environment are:

- ``IK_LLAMA_SSH``: the SSH command and its arguments, the host being the last one, as JSON.
- ``_ANSIBLE_SSH_ASKPASS_SHM``, where there is a password: the name of the shared memory that holds it. ssh gets it by
  ``SSH_ASKPASS``, and sshpass by a pipe. The memory is removed when the copy ends, however it ends.

What the shell of the login prints before the command begins (a greeting in .bashrc) goes to stderr: Ansible ignores it,
and rsync would take it for its protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import subprocess
import sys
from multiprocessing import resource_tracker, shared_memory
from typing import Any

COMMAND = "IK_LLAMA_SSH"
SECRET = "_ANSIBLE_SSH_ASKPASS_SHM"
#: The line after which the output is the command's; every shell has `echo` and `;`.
BEGIN = "ik-llama-pi: the command begins"
#: Bytes that are read at once.
PIECE = 1 << 18


def secret(name: str) -> shared_memory.SharedMemory:
    """Return the shared memory, which stays when this process ends without removing it."""
    memory = shared_memory.SharedMemory(name=name)
    with contextlib.suppress(Exception):  # from Python 3.13 on it may be untracked already
        resource_tracker.unregister(memory._name, "shared_memory")  # type: ignore[attr-defined]
    return memory


def write(target: int, data: bytes) -> None:
    """Write all of the data; rsync's end of the pipe may be one that does not block."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(target, rest) :]
        except BlockingIOError:
            select.select([], [target], [])


def pass_on(source: int, target: int, greetings: int) -> None:
    """Copy what comes after the line `BEGIN` to the target, and what comes before it to another one, until the end."""
    mark = f"{BEGIN}\n".encode()
    read = b""
    while mark not in read:
        piece = os.read(source, PIECE)
        read += piece
        if not piece:
            write(greetings, read)  # no command began, and this may say why
            return
    greeting, _mark, rest = read.partition(mark)
    write(greetings, greeting)
    write(target, rest)
    while piece := os.read(source, PIECE):
        write(target, piece)


def run(argv: list[str], memory: shared_memory.SharedMemory | None = None) -> int:
    """Run the SSH command, with a password where there is one, and return its exit code."""
    passed: tuple[int, ...] = ()
    if memory and os.path.basename(argv[0]) == "sshpass":
        buffer: Any = memory.buf
        password = json.loads(bytes(buffer).rstrip(b"\0"))["password"]
        readable, writable = os.pipe()
        os.write(writable, password.encode() + b"\n")
        os.close(writable)
        argv, passed = [argv[0], f"-d{readable}", *argv[2:]], (readable,)
    with subprocess.Popen(argv, pass_fds=passed, stdout=subprocess.PIPE) as process:
        output: Any = process.stdout
        with contextlib.suppress(BrokenPipeError):  # rsync is gone, and so is what ssh reads
            pass_on(output.fileno(), 1, 2)
    return process.returncode


def main(words: list[str]) -> int:
    argv = [*json.loads(os.environ[COMMAND]), f"echo {shlex.quote(BEGIN)};", *words[1:]]
    name = os.environ.get(SECRET)
    if not name:
        return run(argv)
    memory = secret(name)
    try:
        return run(argv, memory)
    finally:
        memory.close()
        with contextlib.suppress(FileNotFoundError):
            memory.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
