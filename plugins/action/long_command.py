# SPDX-License-Identifier: Apache-2.0
"""Drive the module long_command: start, look until the end, show the progress."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ik_llama.pi.plugins.plugin_utils import following

display = Display()

# The command goes on without the connection; give a board time to come back.
PATIENCE = 300.0


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
        if self._task.check_mode:
            return following.check_result(args.get("name", ""), args.get("directory", ""))

        def say(text: str) -> None:
            following.show(f"{host}: {args['name']}: {text}")

        seen = self._execute_module(module_args={**args, "phase": "start"}, task_vars=task_vars)
        attached = seen.get("attached", False)
        if line := following.begun(seen, args.get("expect", "")):
            say(line)
        if "finished" in seen and not boolean(args.get("wait", True)):
            return {"changed": True, "attached": attached}
        last = following.follow(seen, lambda job: self._look({**args, "phase": "poll", "job": job}, task_vars), say)
        if "finished" not in last:  # the module failed, and said why
            return dict(last)
        return following.result(args["name"], self._task.delegate_to or host, attached, last)

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
