# SPDX-License-Identifier: Apache-2.0
"""Copy a large file over the connection that Ansible has resolved for the host, and show the progress."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.ik_llama.pi.plugins.module_utils.common import long_jobs
from ansible_collections.ik_llama.pi.plugins.plugin_utils import following, transport

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "src": {"type": "str", "required": True},
    "dest": {"type": "str", "required": True},
    "direction": {"type": "str", "choices": ["to_host", "from_host"], "default": "to_host"},
    "directory": {"type": "path", "required": True},
    "expect": {"type": "str", "default": ""},
    "test": {"type": "bool", "default": False},
}
#: Exit codes of rsync after which the rest can be sent: the connection broke, or nothing arrived for some time.
BROKEN = (10, 12, 30, 35, 255)
#: Seconds between two tries, and how long a test may take.
PAUSE, TEST = 5.0, 60.0


class ActionModule(ActionBase):
    """Action plugin; its options and results are documented in the module of the same name."""

    TRANSFERS_FILES = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        checked = ArgumentSpecValidator(ARGUMENTS).validate(dict(self._task.args))
        if checked.error_messages:
            raise AnsibleError("; ".join(checked.error_messages))
        args = dict(checked.validated_parameters)
        here = "src" if args["direction"] == "to_host" else "dest"
        args[here] = os.path.abspath(os.path.expanduser(args[here]))
        # The host that Ansible logs in to: of a delegated task the other one.
        host = self._task.delegate_to or (task_vars or {}).get("inventory_hostname", "")
        if problem := transport.problem(self._connection):
            return {"failed": True, "code": "connection", "msg": f"{host}: {problem}"}
        if self._task.check_mode and not args["test"]:
            return following.check_result(args["name"], args["directory"])
        way = transport.transport(self._connection)
        try:
            if args["test"]:
                return self._test(way, args, host)
            if way.kind == "put_file":
                return self._by_connection(args, host)
            return self._by_command(way, args, host)
        finally:
            way.forget()

    def _by_command(self, way: transport.Transport, args: Mapping[str, Any], host: str) -> dict[str, Any]:
        """Run rsync, or cp on this machine, detached; a connection that breaks is tried again."""
        tries = 1 + (int(self._connection.get_option("reconnection_retries")) if way.kind == "ssh" else 0)
        argv = command(way.kind, args)
        for attempt in range(1, tries + 1):
            try:
                found = self._job(way, argv, args, host)
            except long_jobs.JobError as error:
                return {"failed": True, "code": error.code, "msg": f"{args['name']}: {error}"}
            if found["rc"] not in BROKEN or attempt == tries:
                break
            following.show(f"{host}: {args['name']}: the connection broke, trying again ({attempt} of {tries - 1})")
            time.sleep(PAUSE)
            way.forget()
            way = transport.transport(self._connection)
        way.forget()
        return {**found, "transport": way.kind}

    def _job(self, way: transport.Transport, argv: list[str], args: Mapping[str, Any], host: str) -> dict[str, Any]:
        def say(text: str) -> None:
            following.show(f"{host}: {args['name']}: {text}")

        def look(job: str) -> dict[str, Any]:
            return {"job": job, **long_jobs.look(directory, job, 5)}

        directory = args["directory"]
        started = long_jobs.start(args["name"], argv, os.getcwd(), directory, way.remote_shell())
        seen = {"attached": started["attached"], "job": started["id"], **long_jobs.look(directory, started["id"], 2)}
        if line := following.begun(seen, args["expect"]):
            say(line)
        last = following.follow(seen, look, say)
        return following.result(args["name"], "the controller", started["attached"], last)

    def _by_connection(self, args: Mapping[str, Any], host: str) -> dict[str, Any]:
        """Let the connection plugin copy: it begins at the start each time, and shows no progress."""
        kind = transport.name(self._connection)
        following.show(f"{host}: {args['name']}: started, without progress (connection {kind}); {args['expect']}")
        begun = time.monotonic()
        if args["direction"] == "to_host":
            self._connection.put_file(args["src"], args["dest"])
        else:
            self._connection.fetch_file(args["src"], args["dest"])
        return {"changed": True, "rc": 0, "transport": kind, "seconds": round(time.monotonic() - begun, 2)}

    def _test(self, way: transport.Transport, args: Mapping[str, Any], host: str) -> dict[str, Any]:
        """Copy a file of some bytes to the host, as the large one will be copied."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("test\n")
            file.flush()
            try:
                code, text = self._tested(way, {**args, "src": file.name})
            except (AnsibleError, OSError, subprocess.TimeoutExpired) as error:
                code, text = "transport", str(error)
        if code:
            return {"failed": True, "code": code, "msg": f"{host}: {text}"}
        return {"changed": False, "transport": transport.name(self._connection)}

    def _tested(self, way: transport.Transport, args: Mapping[str, Any]) -> tuple[str, str]:
        """Return one word for what is in the way, and a text; empty if nothing is."""
        if way.kind == "put_file":
            self._connection.put_file(args["src"], args["dest"])
            return "", ""
        if way.kind == "ssh" and not shutil.which("rsync"):
            return (
                "program",
                "rsync is missing on the controller (Debian: sudo apt install rsync; macOS: brew install rsync)",
            )
        argv = command(way.kind, args)
        if way.kind == "ssh" and self._low_level_execute_command("command -v rsync", sudoable=False)["rc"] != 0:
            # It is installed before the large file is copied.
            argv = [*shlex.split(way.remote_shell()["RSYNC_RSH"]), "host", f"cat > {shlex.quote(args['dest'])}"]
        with open(args["src"], "rb") as text:
            done = subprocess.run(
                argv,
                env=way.remote_shell(),
                stdin=text,
                capture_output=True,
                text=True,
                timeout=TEST,
                check=False,
                start_new_session=True,
            )
        said = " ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        return ("transport", said) if done.returncode else ("", "")


def command(kind: str, args: Mapping[str, Any]) -> list[str]:
    """Return the command line of the copy. rsync finds the host by its remote shell, so that none is named here."""
    if kind == "local":
        return ["cp", "--reflink=auto", "--", args["src"], args["dest"]]
    ends = [args["src"], args["dest"]]
    ends[1 if args["direction"] == "to_host" else 0] = f"host:{ends[1 if args['direction'] == 'to_host' else 0]}"
    return [*transport.RSYNC, "--", *ends]
