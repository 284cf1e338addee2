#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: wait until llama-server is ready, and ask it a question."""

from __future__ import annotations

DOCUMENTATION = """
---
module: llama_answer
short_description: Wait until llama-server is ready, and ask it a question
description:
  - Polls C(/health) with short timeouts, because the server accepts connections, and lets them hang, long before the
    model is loaded.
  - Stops waiting at once when the service has ended or begins to restart.
  - On failure the message ends with the last lines of the journal, without those of health checks.
options:
  url:
    description: URL of the server, from its own board.
    type: str
    required: true
  unit:
    description: Name of its systemd unit.
    type: str
    default: llama-server.service
  timeout:
    description: Seconds to wait for readiness, and again for the answer.
    type: int
    default: 600
  question:
    description: What to ask at C(/v1/chat/completions). Empty to ask nothing.
    type: str
    default: ""
  max_tokens:
    description: The longest answer, in tokens.
    type: int
    default: 16
  expect:
    description:
      - Regular expression that is searched for in the answer, and in the reasoning before it.
      - Empty for anything that could be language. Left out, any answer will do.
    type: str
  think:
    description: Whether a model that can reason may do so before it answers.
    type: bool
    default: true
  api_key_file:
    description: File on the host with API keys, one in a line; the first is used. Empty if there is none.
    type: path
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Ask for a word
  ik_llama.pi.llama_answer:
    url: http://127.0.0.1:8080
    question: Say a word.
"""

RETURN = """
answer:
  description: What the model said.
  returned: when a question was asked
  type: str
tokens_per_second:
  description: Speed of generation that the server itself measured, 0 if it did not say.
  returned: when a question was asked
  type: float
journal:
  description: Last lines of the service's log, without those of health checks.
  returned: always
  type: list
  elements: str
"""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import open_directly
from ansible_collections.ik_llama.pi.plugins.module_utils.common.systemd import show
from ansible_collections.ik_llama.pi.plugins.module_utils.server import answer
from ansible_collections.ik_llama.pi.plugins.module_utils.server.log import telling_lines

# Lines of the journal that are read, and that the message of a failure has at most.
READ = 1000
SHOWN = 8


class Server:
    """One llama-server, seen over HTTP and through systemd."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.url = module.params["url"].rstrip("/")
        self.unit = module.params["unit"]

    def journal(self, lines: int) -> list[str]:
        """Return the last lines of the service's log that say something."""
        shown = subprocess.run(
            ["journalctl", "--unit", self.unit, "--lines", str(READ), "--no-pager", "--output", "cat"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        ).stdout
        return telling_lines(shown, lines)

    def fail(self, message: str) -> NoReturn:
        journal = self.journal(30)
        last = "\n".join(journal[-SHOWN:]) or "(none)"
        self.module.fail_json(msg=f"{message}\nLast lines of 'journalctl -u {self.unit}':\n{last}", journal=journal)
        raise AssertionError  # fail_json does not return

    def process(self) -> dict[str, str]:
        """Return the unit's state."""
        return show(self.unit, "ActiveState", "SubState", "Result", "MainPID", "NRestarts")

    def get(self, path: str, body: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        key_file = self.module.params["api_key_file"]
        if body and key_file:
            headers["Authorization"] = "Bearer " + Path(key_file).read_text(encoding="utf-8").split()[0]
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        with open_directly(request, timeout) as response:
            return dict(json.load(response))

    def wait(self) -> None:
        """Wait until /health says yes. Fail when the time is over, or the service gave up."""
        begun = time.monotonic()
        first = self.process()
        if first.get("ActiveState") not in ("active", "activating"):
            self.fail(f"{self.unit} is {first.get('ActiveState')} ({first.get('Result')})")
        last = "no answer"
        pause = 0.2
        while True:
            waited = time.monotonic() - begun
            try:
                self.get("/health", None, 3)
                return
            except urllib.error.HTTPError as error:
                last = f"HTTP {error.code}"  # 503 while the model is loaded
            except (OSError, ValueError) as error:
                last = str(getattr(error, "reason", error))
            now = self.process()
            ended = now.get("ActiveState") == "failed" or now.get("SubState") == "auto-restart"
            if ended or now.get("NRestarts") != first.get("NRestarts"):
                self.fail(f"{self.unit} ended while it was starting ({now.get('Result')})")
            if waited > self.module.params["timeout"]:
                self.fail(f"{self.unit} was not ready at {self.url}/health within {waited:.0f} s: {last}")
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)

    def ask(self) -> answer.Reply:
        """Return the reply to the question. Fail if there is none, or not the one that is expected."""
        params = self.module.params
        body = answer.question(params["question"], params["max_tokens"], params["think"])
        try:
            reply = answer.read_reply(self.get(answer.CHAT, body, params["timeout"]))
        except (OSError, ValueError, LookupError, TypeError) as error:
            self.fail(f"{self.url}{answer.CHAT} gave no answer: {error}")
        problem = answer.reply_problem(reply, params["expect"]) if params["expect"] is not None else ""
        if problem:
            self.fail(f"the answer {reply.answer!r} {problem}")
        return reply


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "unit": {"type": "str", "default": "llama-server.service"},
            "timeout": {"type": "int", "default": 600},
            "question": {"type": "str", "default": ""},
            "max_tokens": {"type": "int", "default": 16, "no_log": False},
            "expect": {"type": "str"},
            "think": {"type": "bool", "default": True},
            "api_key_file": {"type": "path", "no_log": False},
        },
        supports_check_mode=True,
    )
    server = Server(module)
    server.wait()
    result: dict[str, Any] = {"changed": False}
    if module.params["question"]:
        reply = server.ask()
        result["answer"], result["tokens_per_second"] = reply.answer, reply.speed
    module.exit_json(journal=server.journal(10), **result)


if __name__ == "__main__":
    main()
