# SPDX-License-Identifier: Apache-2.0
"""Ask the host which account Ansible logs in as, and run the module gguf_receive, which has other privileges."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ik_llama.pi.plugins.plugin_utils import transport


class ActionModule(ActionBase):
    """Action plugin; options and results are those of the module."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if args.get("account") in (None, ""):
            asked = self._low_level_execute_command("id -u", sudoable=False)
            words = str(asked.get("stdout", "")).split()
            if asked["rc"] != 0 or not words or not words[-1].isdigit():
                host = (task_vars or {}).get("inventory_hostname", "")
                text = str(asked.get("stderr") or asked.get("stdout")).strip()
                return {"failed": True, "msg": f"{host}: cannot get the account of the login: {text}"}
            args["account"] = int(words[-1])
        found = dict(self._execute_module(module_args=args, task_vars=task_vars))
        return {**found, "login": transport.login(self._connection)}
