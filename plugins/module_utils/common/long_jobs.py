"""Commands that run for minutes or hours, apart from who started them: start one, attach to it, look how far it is.

A folder has ``lock`` (held while the command or a child of it runs), ``log``, ``job.json`` and ``exit.json``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping
from typing import Any, NoReturn

from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.common.progress import parse, tail

TAIL_BYTES = 64 * 1024
# The largest files of the engine take a board's compiler some minutes.
ORPHANS_SECONDS = 600
# How far back progress is looked for: a compiler's warnings on one file may fill megabytes.
PROGRESS_BYTES = (TAIL_BYTES, 1 << 20, 8 << 20)


class JobError(Exception):
    """The job cannot be started or followed; the text says why and what to do, ``code`` is one word for it."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


def read_json(path: str) -> dict[str, Any] | None:
    """Return the object in the file, or None where there is none (or half of one)."""
    try:
        with open(path, encoding="utf-8") as handle:
            value = json.load(handle)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: str, value: dict[str, Any]) -> None:
    """Write a temporary file, then rename it: nobody reads half a file."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as handle:
        json.dump(value, handle)
    os.replace(temporary, path)


def read_tail(path: str, most: int = TAIL_BYTES) -> str:
    """Return the last ``most`` bytes of the log, as text."""
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - most))
            return handle.read().decode("utf-8", "replace")
    except OSError:
        return ""


def step_back() -> None:
    """Let everything else on this machine go first, and be the first to be killed when memory runs out."""
    os.nice(19)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def supervise(job: dict[str, Any], directory: str, lock: int, environment: Mapping[str, str] | None = None) -> NoReturn:
    """Run the command to its end and write exit.json. Never returns.

    The command inherits the lock: should only the supervisor be killed, the lock
    stays taken as long as the command works on.
    """
    code = 1
    try:
        log = os.open(os.path.join(directory, "log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Pipes of the connection that stayed open would hold it until the command ends.
        os.closerange(3, lock)
        os.closerange(lock + 1, 4096)
        began = time.monotonic()
        if job["low_priority"]:
            step_back()
        try:
            # Not a separate session: `kill -- -<pid>` ends supervisor and command.
            code = subprocess.call(job["argv"], cwd=job["chdir"], env=environment, pass_fds=[lock])
        except OSError as error:
            os.write(2, f"cannot run {job['argv'][0]}: {error}\n".encode())
            code = 127
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        write_json(
            os.path.join(directory, "exit.json"),
            {
                "id": job["id"],
                "rc": code,
                "seconds": round(time.monotonic() - began, 2),
                "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            },
        )
    finally:
        os._exit(0)


def take_lock(directory: str) -> int | None:
    """Return the open, locked lock file, or None where somebody else holds it."""
    lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT, 0o644)
    # A look at the lock, or another start between its lock and its job.json, takes a moment.
    for _attempt in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            time.sleep(0.2)
    os.close(lock)
    return None


def alive(pid: int) -> bool:
    """Tell whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def wait_for_orphans(directory: str, pid: int) -> int | None:
    """Return the lock when the last child of a killed command has ended, None where it does not end in time.

    What ninja runs has its own process group, and finishes its step when ninja is killed.
    """
    deadline = time.monotonic() + ORPHANS_SECONDS
    while not alive(pid) and time.monotonic() < deadline:
        if (lock := take_lock(directory)) is not None:
            return lock
    return None


def start(
    name: str,
    argv: list[str],
    chdir: str | None,
    directory: str,
    environment: Mapping[str, str] | None = None,
    low_priority: bool = False,
) -> dict[str, Any]:
    """Start the command, or attach to the same one; return the job with ``attached``.

    The environment (that of this process, if there is none) is written nowhere.
    """
    if not shutil.which(argv[0]):
        raise JobError(f"{argv[0]} is not installed; install it and run again", "program")
    os.makedirs(directory, exist_ok=True)
    job_path = os.path.join(directory, "job.json")
    lock = take_lock(directory)
    if lock is None:
        running = read_json(job_path)
        if running is None:
            raise JobError(f"{directory}/lock is held by an unknown process; end it, run again", "unknown")
        if running["argv"] != argv or running["chdir"] != chdir:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(running["started"]))
            raise JobError(
                f"{directory} is busy since {since} with another command, pid {running['pid']}: "
                f"{shlex.join(running['argv'])}. Wait for it, or end it with: "
                f"kill -- -{running['pid']}",
                "busy",
            )
        lock = wait_for_orphans(directory, running["pid"])
        if lock is None:
            return {**running, "attached": True}
    for stale in ("exit.json", "log"):
        if os.path.exists(os.path.join(directory, stale)):
            os.unlink(os.path.join(directory, stale))
    ready, written = os.pipe()
    if os.fork() == 0:
        os.setsid()
        job = {
            "id": uuid.uuid4().hex,
            "name": name,
            "argv": argv,
            "chdir": chdir,
            "pid": os.getpid(),
            "started": time.time(),
            "low_priority": low_priority,
        }
        try:
            write_json(job_path, job)
            os.write(written, b"1")
        except OSError:
            os._exit(1)
        supervise(job, directory, lock, environment)
    os.close(written)
    os.close(lock)
    if not os.read(ready, 1):
        raise JobError(f"cannot write {job_path}; make room and run again", "room")
    os.close(ready)
    return {**(read_json(job_path) or {}), "attached": False}


def look(directory: str, job_id: str, wait: float, steps: int = 0) -> dict[str, Any]:
    """Wait at most wait seconds for the end; return what is known then. `steps`: see progress.py."""
    deadline = time.monotonic() + wait
    while True:
        held = locked(directory)  # before exit.json is read: it is written under the lock
        ended = read_json(os.path.join(directory, "exit.json"))
        job = read_json(os.path.join(directory, "job.json"))
        if job is None or job["id"] != job_id:
            raise JobError(f"another command was started in {directory} meanwhile", "replaced")
        if ended is not None and ended["id"] == job_id:
            break
        if not held:
            raise JobError(
                f"the command was killed, with its supervisor (pid {job['pid']}), before it could "
                f"report its end; run again. Its log: {os.path.join(directory, 'log')}",
                "killed",
            )
        if time.monotonic() >= deadline:
            break
        time.sleep(0.2)
    log = os.path.join(directory, "log")
    output = read_tail(log)
    progress = next(filter(None, (parse(read_tail(log, most), steps) for most in PROGRESS_BYTES)), None)
    return {
        "finished": ended is not None,
        "rc": ended["rc"] if ended else None,
        "seconds": ended["seconds"] if ended else None,
        "cpu_seconds": ended["cpu_seconds"] if ended else None,
        "elapsed": max(0.0, time.time() - job["started"]),
        "progress": progress._asdict() if progress else None,
        "tail": tail(output) if ended else [],
        "log": log,
    }
