#!/usr/bin/python
"""Ansible module: how llama-server is doing on this board."""

from __future__ import annotations

DOCUMENTATION = """
---
module: llama_status
short_description: How llama-server is doing on this board
description:
  - Asks systemd, C(/health), the journal and the kernel. Changes nothing, and takes a few seconds at most, even where
    the server hangs.
options:
  url:
    description: Where the server listens.
    type: str
    required: true
  unit:
    description: Name of its systemd unit.
    type: str
    default: llama-server.service
author: ik-llama-pi
"""

EXAMPLES = """
- name: Look at the server
  llama_status:
    url: http://127.0.0.1:8080
"""

RETURN = """
server:
  description: >-
    state (systemd's ActiveState), health (ok, loading, busy (no answer in three seconds), or what is wrong), restarts,
    up_s (seconds since the process was started), memory_mib and locked_mib of the process (null where none runs),
    answer (tokens_per_second, prompt_tokens_per_second and at, an epoch, of the last one; empty if there was none).
  returned: always
  type: dict
"""

import contextlib
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.server.fleet_status import last_answer
from ansible_collections.ik_llama.pi.plugins.module_utils.server.options import started_at

LINES = 5000


def health(url: str, state: str) -> str:
    """What /health says, in a word."""
    if state != "active":
        return state
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=3):
            return "ok"
    except urllib.error.HTTPError as error:
        return "loading" if error.code == 503 else f"HTTP {error.code}"
    except (TimeoutError, socket.timeout):
        return "busy"  # a batch of a prompt is computed, or it hangs
    except OSError as error:
        reason = getattr(error, "reason", error)
        return "busy" if isinstance(reason, (TimeoutError, socket.timeout)) else "no answer"


def process_mib(pid: str, field: str) -> int | None:
    """MiB of a field of /proc/PID/status; None if there is no process."""
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
    wanted = "ActiveState,MainPID,NRestarts"
    shown = module.run_command(["systemctl", "show", f"--property={wanted}", unit])[1]
    unit_state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    pid = unit_state.get("MainPID", "0")
    state = unit_state.get("ActiveState", "unknown")
    journal = module.run_command(
        ["journalctl", f"--unit={unit}", "--reverse", f"--lines={LINES}", "--no-pager", "--output=short-unix"],
        errors="replace",
    )[1]
    up_s = 0.0
    with contextlib.suppress(OSError, ValueError):  # it may just have ended
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace") if pid != "0" else ""
        now = time.time()
        up_s = now - started_at(stat, os.sysconf("SC_CLK_TCK"), time.clock_gettime(time.CLOCK_BOOTTIME), now)
    server: dict[str, Any] = {
        "state": state,
        "health": health(module.params["url"], state),
        "restarts": int(unit_state.get("NRestarts") or 0),
        "up_s": up_s,
        "memory_mib": process_mib(pid, "VmRSS"),
        "locked_mib": process_mib(pid, "VmLck"),
        "answer": last_answer(journal.splitlines()),
    }
    module.exit_json(changed=False, server=server)


if __name__ == "__main__":
    main()
