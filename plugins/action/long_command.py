# SPDX-License-Identifier: Apache-2.0
"""Drive the module long_command: start, look until the end, show the progress."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ik_llama.pi.plugins.module_utils.common.progress import remaining

display = Display()

# The command goes on without the connection; give a board time to come back.
PATIENCE = 300.0
# Lines of the log in the message of a command that failed; the result has more of them.
SHOWN = 12


class ActionModule(ActionBase):
    """Action plugin; options and results are those of the module."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        host = task_vars.get("inventory_hostname", "")
        args = dict(self._task.args)
        log = f"{args.get('directory')}/log"
        if self._task.check_mode:
            return {
                "changed": True,
                "rc": 0,
                "log": log,
                "tail": [],
                "seconds": 0.0,
                "cpu_seconds": 0.0,
                "attached": False,
                "msg": f"{args.get('name')}: would run",
            }

        seen = self._execute_module(module_args={**args, "phase": "start"}, task_vars=task_vars)
        attached = seen.get("attached", False)
        if attached:
            display.display(f"{host}: {args['name']}: already running, attached")
        elif args.get("expect") and not seen.get("finished", True):
            display.display(f"{host}: {args['name']}: started; {args['expect']}")
        shown, shown_at = -100, time.monotonic()
        reached, reached_at = "", 0.0
        while "finished" in seen and not seen["finished"]:
            progress = seen["progress"]
            now = time.monotonic()
            if progress and progress["text"] != reached:
                reached, reached_at = progress["text"], seen["elapsed"]
            if progress and (progress["percent"] >= shown + 10 or now - shown_at > 60):
                shown, shown_at = progress["percent"], now
                left = remaining(progress["percent"], reached_at, seen["elapsed"] - reached_at)
                text = ", ".join(part for part in (progress["text"], left) if part)
                display.display(f"{host}: {args['name']}: {text}")
            elif not progress and now - shown_at > 60:
                shown_at = now
                display.display(f"{host}: {args['name']}: running for {seen['elapsed'] / 60:.0f} min")
            seen = self._look({**args, "phase": "poll", "job": seen["job"]}, task_vars)

        if "finished" not in seen:  # the module failed, and said why
            return seen
        result = {
            "changed": True,
            "attached": attached,
            **{key: seen[key] for key in ("rc", "log", "tail", "seconds", "cpu_seconds")},
        }
        if seen["rc"] != 0:
            last = "\n".join(seen["tail"][-SHOWN:])
            result["failed"] = True
            result["msg"] = (
                f"{args['name']} ended with code {seen['rc']}. The last lines:\n{last}\n"
                f"The whole log is on {self._task.delegate_to or host}: {seen['log']}"
            )
        return result

    def _look(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Look once; a lost connection is tried again for some minutes."""
        since = time.monotonic()
        while True:
            try:
                return self._execute_module(module_args=args, task_vars=task_vars)
            except AnsibleConnectionFailure:
                if time.monotonic() - since > PATIENCE:
                    display.warning(f"{args['name']} goes on without us; run again to attach to it")
                    raise
                time.sleep(5)
