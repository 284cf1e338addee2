"""What the tests read of a run of Ansible, and of a message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from naming import named, unnamed
from runs import JSONL, changed, diffs, facts, failures, refused, results, shown, stats, warnings

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {colour: red}
    - ansible.builtin.set_fact: {colour: blue}
    - ansible.builtin.debug: {msg: [one line, another]}
    - ansible.builtin.assert: {that: item < 2, fail_msg: "no {{ item }}"}
      loop: [1, 2]
      ignore_errors: true
    - ansible.builtin.copy: {content: "new\\n", dest: "{{ file }}", mode: "0644"}
    - ansible.builtin.debug: {msg: never}
      when: false
    - ansible.builtin.fail: {msg: "localhost: the end"}
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("run")
    (folder / "play.yml").write_text(PLAY)
    (folder / "file").write_text("old\n")
    (folder / "ansible.cfg").touch()
    command = [
        "ansible-playbook",
        "-i",
        "localhost,",
        "--diff",
        "-e",
        f"file={folder}/file",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
        "play.yml",
    ]
    environment = {**os.environ, **JSONL, "ANSIBLE_CONFIG": f"{folder}/ansible.cfg"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    return run.stdout


def test_results_are_read(output: str) -> None:
    assert [(result.action, result.outcome) for result in results(output)] == [
        ("set_fact", "ok"),
        ("set_fact", "ok"),
        ("debug", "ok"),
        ("assert", "failed"),
        ("copy", "ok"),
        ("debug", "skipped"),
        ("fail", "failed"),
    ]
    assert [result.changed for result in results(output, "copy")] == [True]
    assert facts(output, "localhost") == {"colour": "blue"}
    assert facts(output, "other") == {}
    assert (changed(output), stats(output)["localhost"]["failures"]) == (1, 1)
    assert failures(output)["localhost"].action == "assert"
    assert diffs(output) == [("old\n", "new\n")]


def test_messages_are_read(output: str) -> None:
    assert shown(output, "localhost", "ok").splitlines() == ["one line", "another"]
    lines = refused(output).splitlines()
    assert "no 2" in lines
    assert lines[-1] == "localhost: the end"
    assert "never" not in shown(output).splitlines()
    assert refused(output, "other") == ""


def test_warnings_are_read() -> None:
    assert warnings('x\n[WARNING]: one\ntwo\n{"_event":"v2_other"}\n[WARNING]: three\n') == ["one two", "three"]


def test_what_is_named_is_a_word_of_its_own() -> None:
    text = "pi-01: port 8080 (llama_server_port) is taken; see /etc/x.conf, not --port=1"
    assert unnamed(text, "pi-01", 8080, "llama_server_port", "/etc/x.conf", "--port") == []
    assert unnamed(text, 80, "server_port", "pi-1") == ["80", "server_port", "pi-1"]
    assert not named("", "x")
