#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Run a command for minutes or hours, apart from the connection that started it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: long_command
short_description: Run a long command detached, show its progress, and attach to it again
version_added: "0.1.0"
description:
  - Starts O(argv) on the host as a separate process and waits until it ends. The command continues when the connection
    is lost or the controller ends. Running the same task again attaches to it.
  - Only one command at a time runs in a O(directory). The command and its children hold a lock there while they run.
  - The action plugin of the same name runs the module and shows the progress.
options:
  name:
    description: Name of the command in progress lines.
    type: str
    required: true
  argv:
    description: The command and its arguments. No shell is involved.
    type: list
    elements: str
    required: true
  chdir:
    description: Folder in which the command runs.
    type: path
  directory:
    description: Folder for C(lock), C(log), C(job.json) and C(exit.json). It is created if it does not exist.
    type: path
    required: true
  expect:
    description: Time and disk space that the command needs, as text. It is shown when the command starts.
    type: str
    default: ""
  low_priority:
    description:
      - Let other programs go first (nice 19), and let the kernel kill this command before any other where memory runs
        out.
    type: bool
    default: false
    version_added: "0.2.0"
  steps:
    description:
      - How many steps the command has at most, where it counts them without their number, as C(llama-perplexity) does.
        With V(0) progress is read from C([n/m]) and percentages.
    type: int
    default: 0
    version_added: "0.2.0"
  poll:
    description: Longest time between two checks, in seconds. The end of the command is noticed at once.
    type: int
    default: 5
  wait:
    description:
      - Wait until the command ends. Otherwise only C(changed) and C(attached) are returned, as soon as it has started.
        The same task without this option waits for it later.
    type: bool
    default: true
    version_added: "0.2.0"
  phase:
    description: Used by the action plugin.
    type: str
    choices: [start, poll]
    default: start
  job:
    description: Used by the action plugin.
    type: str
attributes:
  check_mode:
    support: full
    description: Reports that the command would run, and runs nothing.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Compile
  ik_llama.pi.long_command:
    name: engine 0123456789ab
    expect: about 12 min, 2500 MiB of disk
    argv: [ninja, -C, /var/tmp/build, llama-server]
    directory: /var/tmp/build.job
"""

RETURN = r"""
rc:
  description: Exit code of the command.
  type: int
  returned: when O(wait) is true
log:
  description: Path of the whole log, on the host.
  type: str
  returned: when O(wait) is true
tail:
  description: Last 30 lines of the log.
  type: list
  elements: str
  returned: when O(wait) is true
seconds:
  description: Wall time of the command.
  type: float
  returned: when O(wait) is true
cpu_seconds:
  description: CPU time of the command and its children.
  type: float
  returned: when O(wait) is true
code:
  description: One word for what keeps the job from being started or followed, like C(busy) or C(killed).
  type: str
  returned: failure
attached:
  description: Whether the command was already running.
  type: bool
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.long_jobs import JobError, look, read_tail, start
from ansible_collections.ik_llama.pi.plugins.module_utils.common.progress import tail


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "chdir": {"type": "path"},
            "directory": {"type": "path", "required": True},
            "expect": {"type": "str", "default": ""},
            "low_priority": {"type": "bool", "default": False},
            "steps": {"type": "int", "default": 0},
            "poll": {"type": "int", "default": 5},
            "wait": {"type": "bool", "default": True},
            "phase": {"type": "str", "choices": ["start", "poll"], "default": "start"},
            "job": {"type": "str"},
        },
        supports_check_mode=True,
        required_if=[("phase", "poll", ["job"])],
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        if params["phase"] == "start":
            job = start(
                params["name"],
                params["argv"],
                params["chdir"],
                params["directory"],
                low_priority=params["low_priority"],
            )
            seen = look(params["directory"], job["id"], min(2, params["poll"]), params["steps"])
            module.exit_json(changed=True, job=job["id"], attached=job["attached"], **seen)
        seen = look(params["directory"], params["job"], params["poll"], params["steps"])
        module.exit_json(changed=True, job=params["job"], **seen)
    except JobError as error:
        module.fail_json(
            msg=f"{params['name']}: {error}",
            code=error.code,
            tail=tail(read_tail(os.path.join(params["directory"], "log"))),
        )
    except OSError as error:
        module.fail_json(msg=f"{params['name']}: {error}")


if __name__ == "__main__":
    main()
