#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: how llama-server is doing on this board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: llama_status_info
short_description: Return how llama-server is doing on this board
description:
  - Asks systemd, C(/health), the journal and the kernel. Changes nothing, and takes a few seconds at most, even where
    the server hangs.
options:
  url:
    description: URL of the server, from its own board.
    type: str
    required: true
  unit:
    description: Name of its systemd unit.
    type: str
    default: llama-server.service
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Get the state of the server
  ik_llama.pi.llama_status_info:
    url: http://127.0.0.1:8080
"""

RETURN = """
server:
  description: >-
    C(state) (systemd's ActiveState), C(health) (V(ok), V(loading), V(busy), which is no answer in three seconds, or
    what is wrong), C(restarts), C(up_s) (seconds since the process was started), C(memory_mib) and C(locked_mib) of the
    process (null where none runs), and C(answer) (C(tokens_per_second), C(prompt_tokens_per_second) and C(at), an
    epoch, of the last one; empty if there was none).
  returned: always
  type: dict
"""

import contextlib
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import open_directly
from ansible_collections.ik_llama.pi.plugins.module_utils.common.systemd import show
from ansible_collections.ik_llama.pi.plugins.module_utils.server.log import last_answer
from ansible_collections.ik_llama.pi.plugins.module_utils.server.process import process_start

# Lines of the journal that are searched for the last answer.
LINES = 5000


def health(url: str, state: str) -> str:
    """Return what /health says, in a word."""
    if state != "active":
        return state
    try:
        with open_directly(f"{url}/health", 3):
            return "ok"
    except urllib.error.HTTPError as error:
        return "loading" if error.code == 503 else f"HTTP {error.code}"
    except (TimeoutError, socket.timeout):
        return "busy"  # a batch of a prompt is computed, or it hangs
    except OSError as error:
        reason = getattr(error, "reason", error)
        return "busy" if isinstance(reason, (TimeoutError, socket.timeout)) else "no answer"


def process_mib(pid: str, field: str) -> int | None:
    """Return a field of /proc/PID/status in MiB; None if there is no process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{field}:")), None)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "unit": {"type": "str", "default": "llama-server.service"},
        },
        supports_check_mode=True,
    )
    unit = module.params["unit"]
    shown = show(unit, "ActiveState", "MainPID", "NRestarts")
    pid = shown.get("MainPID", "0")
    state = shown.get("ActiveState", "unknown")
    journal = module.run_command(
        ["journalctl", f"--unit={unit}", "--reverse", f"--lines={LINES}", "--no-pager", "--output=short-unix"],
        errors="replace",
    )[1]
    up_s = 0.0
    with contextlib.suppress(OSError, ValueError):  # it may just have ended
        up_s = time.time() - process_start(pid) if pid != "0" else 0.0
    server: dict[str, Any] = {
        "state": state,
        "health": health(module.params["url"], state),
        "restarts": int(shown.get("NRestarts") or 0),
        "up_s": up_s,
        "memory_mib": process_mib(pid, "VmRSS"),
        "locked_mib": process_mib(pid, "VmLck"),
        "answer": last_answer(journal.splitlines()),
    }
    module.exit_json(changed=False, server=server)


if __name__ == "__main__":
    main()
