# SPDX-License-Identifier: Apache-2.0
"""Modules that read from servers are run again after the time that a server asks to wait, and the user sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ik_llama.pi.plugins.plugin_utils.following import show

#: Seconds that one task waits in all.
PATIENCE = 3600


def run_and_wait(
    run: Callable[[], Mapping[str, Any]],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Run a module until no server asks to wait, or that would take longer than PATIENCE; return its last result.

    Args:
        run: runs the module once. Where it failed because a server is busy, the result has ``retry_after`` (seconds)
            and ``server``.
        say: shows one line.
        sleep, clock: for tests.
    """
    waited = 0
    while True:
        result = dict(run())
        seconds = result.get("retry_after", 0)
        waited += seconds
        if not seconds or waited > PATIENCE:
            return result
        again = time.strftime("%H:%M", time.localtime(clock() + seconds))
        say(f"{result['server']} asks to wait {seconds} s; trying again at {again}")
        sleep(seconds)


class WaitingAction(ActionBase):
    """Base of the action plugins of such modules; options and results are those of the module."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")
        return run_and_wait(lambda: self._execute_module(task_vars=task_vars), lambda text: show(f"{host}: {text}"))
