#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Test whether an engine release computes correctly on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_selftest
short_description: Test whether an engine release computes correctly on this host
version_added: "0.1.0"
description:
  - Writes two tiny models, starts the release's C(llama-server) with each on a free port of loopback, asks, stops it.
  - The first must recite the alphabet. Anything else is a failure, as is a server that does not start or answer.
  - The second measures for each tensor type how far generation (one column at a time) is from prompt processing (many
    columns). A type that is far off is a warning, and is marked in the result.
  - Changes nothing on the host; the models are removed.
options:
  programs:
    description: Folder with the release's programs, of which C(llama-server) is used.
    type: path
    required: true
  types:
    description: Tensor types to measure, by their names in GGUF files, in the engine's spelling.
    type: list
    elements: str
    default: [q8_0, q6_K, q4_K, iq4_ks, iq2_ks, iq4_k]
  timeout:
    description: Seconds that all of it may take.
    type: int
    default: 120
  work:
    description: An existing folder for the models, at most some 10 MB. The system's temporary folder where not given.
    type: path
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Test the release
  ik_llama.pi.engine_selftest:
    programs: /opt/ik_llama/current/bin
"""

RETURN = r"""
self_test:
  description: As C(release.json) has it.
  type: dict
  returned: always
  contains:
    golden: {description: "expected, answer (both letters) and ok.", type: dict}
    types:
      description: For each type error (root mean square of the difference, relative to prompt processing) and ok.
      type: dict
    limit: {description: The largest error that is ok., type: float}
    seconds: {description: How long all of it took., type: float}
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import selftest
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import selftest_models as models
from ansible_collections.ik_llama.pi.plugins.module_utils.engine.selftest import SelfTestError

LAST_LINES = 20


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A llama-server of one's own, from ``with`` to the end of its block."""

    def __init__(self, program: Path, model: Path, deadline: float) -> None:
        self.deadline = deadline
        self.port = free_port()
        self.output = model.with_suffix(".log")
        self.argv = [str(program), "--model", str(model), "--host", "127.0.0.1", "--port", str(self.port)]
        self.argv += ["--ctx-size", "512", "--parallel", "1", "--threads", "1"]

    def __enter__(self) -> Server:
        with self.output.open("wb") as output:
            # In the caller's process group: who ends that, as Ansible does with a job that takes too long, ends both.
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.output.parent,
            )
        try:
            self.wait()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """For sure; it has nothing to save but what it has still to say."""
        self.process.terminate()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def complain(self, code: str, what: str) -> SelfTestError:
        self.end()
        lines = self.output.read_text(encoding="utf-8", errors="replace").split("\n")
        last = "\n".join(line for line in lines if line.strip())[-4000:].split("\n")[-LAST_LINES:]
        said = "\n".join(last)
        return SelfTestError(f"{what}. The last lines of {' '.join(self.argv)}:\n{said or '(none)'}", code)

    def left(self) -> float:
        """Seconds until the time is over. Raises SelfTestError where the server has ended or the time is over."""
        code = self.process.poll()
        if code is not None:
            how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"code {code}"
            raise self.complain("ended", f"llama-server ended with {how}")
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.complain("timeout", "llama-server took too long")
        return left

    def request(self, path: str, body: dict[str, Any] | None, timeout: float) -> tuple[int, bytes]:
        """Without a proxy, whatever the environment says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = json.dumps(body) if body else None
            connection.request("POST" if body else "GET", path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def wait(self) -> None:
        """Until /health says yes. The server listens, and lets requests hang, long before the model is loaded."""
        pause = 0.02
        while True:
            left = self.left()
            try:
                if self.request("/health", None, min(2.0, left))[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(pause)
            pause = min(0.2, pause * 1.5)

    def complete(self, prompt: Any, tokens: int, probabilities: int = 0) -> dict[str, Any]:
        """What /completion answers: the likeliest tokens, the whole prompt computed again."""
        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0,
            "n_probs": probabilities,
            "cache_prompt": False,
            "stream": False,
        }
        try:
            status, data = self.request("/completion", body, self.left())
            reply = json.loads(data) if status == 200 else None
        except (OSError, ValueError, http.client.HTTPException) as error:
            time.sleep(0.1)  # a server that dies closes its connections first
            self.left()
            raise self.complain("no-answer", f"llama-server gave no answer ({error!r})") from error
        if not isinstance(reply, dict):
            raise self.complain("status", f"llama-server answered {status} {data[:200]!r}")
        return reply


def golden(program: Path, work: Path, deadline: float) -> dict[str, Any]:
    """Let the golden model speak. Raises SelfTestError where it says something else."""
    model = work / "golden.gguf"
    model.write_bytes(models.golden_model())
    with Server(program, model, deadline) as server:
        answer = str(server.complete(models.GOLDEN_PROMPT, len(models.GOLDEN_ANSWER)).get("content"))
        if answer != models.GOLDEN_ANSWER:
            raise server.complain(
                "golden",
                f"the model that recites the alphabet answered {models.GOLDEN_PROMPT!r} with {answer!r} instead of "
                f"{models.GOLDEN_ANSWER!r}: this release computes wrongly on this host",
            )
    return {"expected": models.GOLDEN_ANSWER, "answer": answer, "ok": True}


def measure(program: Path, work: Path, deadline: float, types: list[str]) -> dict[str, float]:
    """The error of each type: generation against prompt processing."""
    model = work / "probe.gguf"
    model.write_bytes(models.probe_model(types))
    plan = models.probe_plan(types)
    pairs = []
    with Server(program, model, deadline) as server:
        generated = server.complete(plan.prompt, models.STEPS + 1, plan.vocabulary)
        expected = models.probe_text(models.STEPS + 1)
        if generated.get("content") != expected:
            said = generated.get("content")
            raise server.complain(
                "probe", f"the probe answered {said!r} instead of {expected!r}: this release computes wrongly"
            )
        for step in range(1, models.STEPS + 1):
            prompt = [*plan.prompt, *(token % models.CYCLE for token in range(step))]
            reply = server.complete(prompt, 1, plan.vocabulary)
            processed = reply.get("timings", {}).get("prompt_n")
            if processed != len(prompt):
                raise server.complain(
                    "prompt", f"of a prompt of {len(prompt)} tokens llama-server computed {processed}"
                )
            pairs.append((selftest.logits(generated, step, plan), selftest.logits(reply, 0, plan)))
    return selftest.errors(pairs, plan)


def stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "programs": {"type": "path", "required": True},
            "types": {"type": "list", "elements": "str", "default": list(models.DEFAULT_TYPES)},
            "timeout": {"type": "int", "default": 120},
            "work": {"type": "path"},
        },
        supports_check_mode=True,
    )
    types = module.params["types"]
    program = Path(module.params["programs"]).absolute() / "llama-server"
    try:
        models.probe_plan(types)
    except ValueError as error:
        module.fail_json(msg=f"engine_selftest: types: {error}")
    if not os.access(program, os.X_OK):
        module.fail_json(msg=f"engine_selftest: {program} is not there, or not executable")
    # However this ends, the server ends with it.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    begun = time.monotonic()
    deadline = begun + module.params["timeout"]
    try:
        with tempfile.TemporaryDirectory(prefix="engine-selftest-", dir=module.params["work"]) as folder:
            work = Path(folder)
            spoken = golden(program, work, deadline)
            found = measure(program, work, deadline, types)
    except (OSError, SelfTestError) as error:
        module.fail_json(msg=f"the self-test of {program} failed: {error}")
    types_found = {kind: {"error": round(error, 6), "ok": error <= selftest.LIMIT} for kind, error in found.items()}
    inexact = [kind for kind, result in types_found.items() if not result["ok"]]
    if inexact:
        module.warn(
            f"{program} generates with an error above {selftest.LIMIT} from tensors of type {', '.join(inexact)}. "
            "A model with such tensors is warned of when it is served."
        )
    seconds = round(time.monotonic() - begun, 2)
    module.exit_json(
        changed=False,
        self_test={"golden": spoken, "types": types_found, "limit": selftest.LIMIT, "seconds": seconds},
    )


if __name__ == "__main__":
    main()
