# SPDX-License-Identifier: Apache-2.0
"""Loads the project's filters once, instead of once for each task and host."""

from __future__ import annotations

DOCUMENTATION = """
name: preload
type: aggregate
short_description: Loads filters once, instead of once for each task and host
description:
  - Ansible runs each task on each host in a new process, forked from one that has loaded no filter plugins, so
    that each process loads all of them again.
  - What is loaded when the playbook begins is there in all of them, in memory that they share.
    C(tests/bench/fleet_noop.py) measures it. 20 tasks with filters on four hosts took 5.5 s of CPU with it, and 12.2 s
    without.
author: ik-llama-pi contributors (!UNKNOWN)
"""

import gc
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader, test_loader


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "preload"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        for loader in (filter_loader, test_loader):
            for _plugin in loader.all():
                pass
        # Any one filter of a collection loads all of them.
        filter_loader.get("ik_llama.pi.is_loopback")
        # A collector that goes through all objects in each process would copy the memory that they share.
        gc.collect()
        gc.freeze()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        gc.freeze()
