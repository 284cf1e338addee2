"""Ask a compiling host once for all hosts that want the same of it."""

from __future__ import annotations

import json
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.ik_llama.pi.plugins.plugin_utils.once import once


class ActionModule(ActionBase):
    """Options and results are those of the module.

    Only within one task are answers shared, between the hosts that go through it together: a later look is a new one.
    Where there are more hosts than forks and the first ones failed, the others ask once more.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}

        maker = self._task.delegate_to
        if maker in (None, variables.get("inventory_hostname")):
            return dict(self._execute_module(task_vars=variables))

        def ask() -> dict[str, Any]:
            # Errors are answers too: the others would wait for the same host, or try a wrong password, one after the
            # other. It is not the board that cannot be reached.
            try:
                return dict(self._execute_module(task_vars=variables))
            except AnsibleConnectionFailure as error:
                return {"failed": True, "msg": f"{maker} cannot be reached: {error}"}
            except AnsibleError as error:
                return {"failed": True, "msg": f"{maker}: {error}"}

        question = [self._task._uuid, maker, sorted(variables.get("ansible_play_batch", [])), self._task.args]
        answer: dict[str, Any] = once(constants.DEFAULT_LOCAL_TMP, json.dumps(question, sort_keys=True), ask)
        return answer
