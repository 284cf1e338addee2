"""The output of runs of the real ansible-playbook, and the callback's pure functions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")

Play = Callable[..., "subprocess.CompletedProcess[str]"]


def environment() -> dict[str, str]:
    """Return this environment without what would hide a wrong default."""
    hidden = ("PYTHONUNBUFFERED", "ANSIBLE_FORCE_COLOR", "ANSIBLE_STDOUT_CALLBACK")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


def write(folder: Path, tasks: list[dict[str, Any]], hosts: tuple[str, ...], **play: Any) -> list[str]:
    """Write a playbook and its inventory, JSON being YAML; return the command that runs it."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = {"all": {"vars": local, "hosts": {name: away if name == "away" else {} for name in hosts}}}
    (folder / "hosts.yml").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks, **play}]))
    return [str(PLAYBOOK), "-i", str(folder / "hosts.yml"), str(folder / "play.yml")]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def run(
        tasks: list[dict[str, Any]], *options: str, hosts: tuple[str, ...] = ("one",), **play: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*write(tmp_path, tasks, hosts, **play), *options],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def report(plugin: Any) -> Any:
    return plugin("callback", "report")


def fail(message: str, **task: Any) -> dict[str, Any]:
    return {"ansible.builtin.fail": {"msg": message}, **task}


def after_failure(run: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines after the first one of a task that failed."""
    lines = run.stdout.rstrip().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(("failed: ", "unreachable: ")))
    return lines[first + 1 :]


def block(run: subprocess.CompletedProcess[str]) -> str:
    """Return what follows the recap."""
    return run.stdout[run.stdout.rindex("PLAY RECAP") :]


def test_a_cause_is_said_once_and_at_the_end(play: Play) -> None:
    run = play([fail("{{ inventory_hostname }}: cause-1 (x = 1). remedy-1.")])
    assert run.returncode == 2
    assert (run.stdout + run.stderr).count("cause-1") == 1
    assert "one: cause-1 (x = 1). remedy-1." in block(run)
    assert "msg" not in run.stdout
    assert "play.yml" not in run.stdout  # a message of ours needs no place
    assert len(after_failure(run)) <= 10


def test_the_same_cause_on_several_hosts_is_said_once(play: Play) -> None:
    run = play(
        [fail("{{ inventory_hostname }}: cause-1. See host_vars/{{ inventory_hostname }}.yml.")], hosts=("a", "b")
    )
    assert run.stdout.count("cause-1") == 1
    assert "a, b: cause-1." in block(run)


def test_what_a_rescue_says_stands_for_what_it_caught(play: Play) -> None:
    raw = {"ansible.builtin.command": "sh -c 'echo raw-1 >&2; exit 3'"}
    calm = {"ansible.builtin.debug": {"msg": "in-between"}, "name": "Look"}
    quiet = {"ansible.builtin.set_fact": {"x": 1}, "name": "Pass by"}
    tasks = [{"block": [raw], "rescue": [quiet, calm, fail("one: better. Caught: {{ ansible_failed_result.rc }}.")]}]
    run = play(tasks)
    assert run.returncode == 2
    assert "raw-1" not in run.stdout + run.stderr
    assert run.stdout.count("one: better. Caught: 3.") == 1
    assert "in-between" in run.stdout  # what a task shows is shown
    assert "Pass by" not in run.stdout  # what passes by is not


def test_a_rescue_that_repeats_its_cause_repeats_nothing(play: Play) -> None:
    again = fail("{{ ansible_failed_result.msg }}")
    tasks = [{"block": [{"block": [fail("one: cause-1.")], "rescue": [again]}], "rescue": [again], "always": [again]}]
    run = play(tasks)
    assert run.returncode == 2
    assert run.stdout.count("cause-1") == 1


def test_a_run_that_catches_its_failures_has_no_block(play: Play) -> None:
    tasks = [{"block": [fail("one: cause-1.")], "rescue": [{"ansible.builtin.debug": {"msg": "caught"}}]}]
    run = play([*tasks, fail("one: cause-2.", ignore_errors=True), {"ansible.builtin.ping": {}}])
    assert run.returncode == 0
    assert "caught" in run.stdout
    assert "cause-" not in run.stdout + run.stderr
    assert "failed=0" in block(run).splitlines()[1]
    assert len(block(run).strip().splitlines()) == 2


def test_failures_outside_and_inside_a_rescue_of_one_host(play: Play) -> None:
    caught = {"block": [fail("one: caught-1.")], "rescue": [{"ansible.builtin.debug": {"msg": "on"}}]}
    run = play([caught, fail("one: cause-1.")])
    assert "cause-1" in block(run)
    assert "caught-1" not in run.stdout


def test_an_unreachable_host_is_named_with_its_variables(play: Play) -> None:
    run = play([{"ansible.builtin.ping": {}}], hosts=("away", "one"))
    assert run.returncode == 4
    assert run.stdout.count("port 1:") == 1
    assert "away: " in block(run)
    assert "ansible_host" in block(run)
    assert "one: " not in block(run)


def test_an_ignored_unreachable_host_is_no_cause(play: Play) -> None:
    said = fail("{{ inventory_hostname }}: {{ x.msg }}", when="x.unreachable is defined")
    run = play([{"ansible.builtin.ping": {}, "register": "x", "ignore_unreachable": True}, said], hosts=("away",))
    assert run.returncode == 2
    assert run.stdout.count("port 1:") == 1
    assert "(ignored)" in run.stdout


def test_wrong_arguments_of_a_role_name_variable_and_host(play: Play, tmp_path: Path) -> None:
    (tmp_path / "roles/speaker/meta").mkdir(parents=True)
    (tmp_path / "roles/speaker/meta/argument_specs.yml").write_text(
        json.dumps({"argument_specs": {"main": {"options": {"speaker_volume": {"type": "int"}}}}})
    )
    run = play([{"ansible.builtin.import_role": {"name": "speaker"}, "vars": {"speaker_volume": "loud"}}])
    assert run.returncode == 2
    assert run.stdout.count("speaker_volume") == 1
    assert "host_vars/one.yml" in block(run)
    assert len(after_failure(run)) <= 10


def test_an_error_of_ansible_is_shown_with_its_place(play: Play) -> None:
    run = play([{"name": "Speak", "ansible.builtin.debug": {"msg": "{{ no_such_variable }}"}}])
    assert run.returncode == 2
    assert "'no_such_variable' is undefined" in block(run)
    assert "'Speak'" in block(run)
    assert "play.yml:1" in block(run)


def test_the_output_of_a_program_that_failed_is_shown(play: Play) -> None:
    run = play([{"ansible.builtin.command": "sh -c 'seq 100 130; echo to-stderr >&2; exit 3'"}])
    assert "to-stderr" in block(run)
    run = play([{"ansible.builtin.command": "sh -c 'seq 100 130; exit 3'"}])
    assert "130" in block(run)
    assert "119" not in block(run)


def test_no_log_hides_result_and_items(play: Play) -> None:
    tasks = [{"name": "Hide", "ansible.builtin.command": "sh -c 'echo secret-1; exit 1'", "no_log": True}]
    run = play(tasks)
    assert "secret-1" not in run.stdout + run.stderr
    assert "'Hide'" in block(run)
    for verbose in ((), ("-v",)):
        run = play([fail("{{ item }}", loop=["secret-1"], no_log=True)], *verbose)
        assert run.returncode == 2
        assert "secret-1" not in run.stdout + run.stderr


def test_each_item_that_failed_is_a_cause(play: Play) -> None:
    run = play([fail("one: item-{{ item }}", loop=[1, 2, 1])])
    assert run.stdout.count("item-1") == 1
    assert run.stdout.count("item-2") == 1


def test_what_does_nothing_is_shown_in_a_verbose_run_alone(play: Play, tmp_path: Path) -> None:
    (tmp_path / "more.yml").write_text(json.dumps([{"name": "Reach", "ansible.builtin.ping": {}}]))
    tasks = [{"name": "Go elsewhere", "ansible.builtin.include_tasks": "more.yml"}]
    for verbose in ((), ("-v",)):
        run = play(tasks, *verbose, name="The play")
        assert "TASK [Reach]" in run.stdout
        assert ("Go elsewhere" in run.stdout) == bool(verbose)
        run = play([{"ansible.builtin.ping": {}, "when": False}], *verbose, name="The play")
        assert ("The play" in run.stdout) == bool(verbose)


def test_verbose_shows_results_where_they_happen(play: Play) -> None:
    run = play([fail("one: cause-1.")], "-v")
    assert run.stdout.count("cause-1") >= 2
    assert "msg: " in run.stdout


def test_any_errors_fatal_blames_the_host_that_failed(play: Play) -> None:
    tasks = [fail("a: cause-1.", when="inventory_hostname == 'a'"), {"ansible.builtin.ping": {}}]
    run = play(tasks, hosts=("a", "b"), any_errors_fatal=True)
    assert run.returncode == 2
    assert run.stdout.count("cause-1") == 1
    assert "b: " not in block(run)


def test_a_run_that_is_interrupted_shows_what_had_failed(tmp_path: Path) -> None:
    tasks = [fail("a: cause-1.", when="inventory_hostname == 'a'"), {"ansible.builtin.pause": {"seconds": 60}}]
    command = write(tmp_path, tasks, ("a", "b"))
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout
        shown = []
        for line in run.stdout:
            shown.append(line)
            if line.startswith("failed: [a]"):
                time.sleep(1)
                run.send_signal(signal.SIGINT)
        assert "".join(shown).count("cause-1") == 1


def test_lines_reach_a_pipe_while_a_long_command_runs(tmp_path: Path) -> None:
    script = 'for n in 1 2 3; do echo "[$n/3] step"; sleep 2; done'
    arguments = {"name": "steps", "argv": ["sh", "-c", script], "expect": "time-and-disk", "poll": 1}
    directory = f"{tmp_path}/{{{{ inventory_hostname }}}}"
    command = write(tmp_path, [{"ik_llama.pi.long_command": {**arguments, "directory": directory}}], ("a", "b"))
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        seen: dict[str, float] = {}
        for line in run.stdout:
            seen.setdefault(line.strip(), time.monotonic())
        ended = time.monotonic()
    assert run.returncode == 0
    for host in ("a", "b"):
        assert any(line.startswith(f"{host}: steps: ") and line.endswith("time-and-disk") for line in seen)
        first = next(at for line, at in seen.items() if line.startswith(f"{host}: steps: 1/3"))
        assert ended - first > 2
        assert next(at for line, at in seen.items() if line.startswith("TASK ")) < first


SERVING: dict[str, Any] = {"model": "m", "url": "http://10.0.0.1:8080", "api_key": False, "ssh": "ssh pi@10.0.0.1"}


def test_a_run_that_works_ends_with_what_serves(play: Play) -> None:
    publish = {
        "ansible.builtin.set_stats": {
            "data": {"ik_llama_pi_serving": {name: {**SERVING, "url": f"http://{name}:8080"} for name in ("b", "a")}}
        },
        "run_once": True,
    }
    run = play([publish], hosts=("a", "b"))
    assert run.returncode == 0
    rows = [line.split() for line in block(run).splitlines()]
    assert ["a", "m", "http://a:8080"] in rows
    assert ["b", "m", "http://b:8080"] in rows
    assert sum(line.strip().startswith("curl ") for line in block(run).splitlines()) == 1
    run = play([publish, fail("a: cause-1.", when="inventory_hostname == 'a'")], hosts=("a", "b"))
    assert "curl" not in run.stdout
    assert "cause-1" in block(run)


def test_a_server_that_this_machine_does_not_reach_is_named(play: Play) -> None:
    boards = {"a": {**SERVING, "unreached": "timed-out"}, "b": {**SERVING, "unreached": ""}}
    run = play([{"ansible.builtin.set_stats": {"data": {"ik_llama_pi_serving": boards}}, "run_once": True}])
    assert run.returncode == 0
    (line,) = (line for line in block(run).splitlines() if "timed-out" in line)
    assert unnamed(line, "a", SERVING["url"], "llama_server_allow_from") == []


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize(
    ("url", "asked", "forward"),
    [
        ("http://10.0.0.1:81", "http://10.0.0.1:81", ""),
        ("http://127.0.0.1:81", "http://127.0.0.1:81", "-L 81:127.0.0.1:81"),
        ("http://[::1]:81", "http://127.0.0.1:81", "-L 81:[::1]:81"),
    ],
)
def test_the_line_that_asks_a_board(report: Any, tmp_path: Path, url: str, asked: str, forward: str, key: bool) -> None:
    lines = report.request_lines("a", {**SERVING, "url": url, "api_key": key})
    assert (forward in "\n".join(lines)) and ("ssh" in "\n".join(lines)) == bool(forward)
    # What a shell makes of it.
    (tmp_path / "curl").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "curl").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    shown = subprocess.run(
        ["sh", "-c", lines[-1]], env={"PATH": path, "KEY": "k-1"}, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert shown[0] == f"{asked}/v1/chat/completions"
    assert ("Authorization: Bearer k-1" in shown) == key
    assert json.loads(shown[-1])["messages"]


def test_texts_that_another_one_contains_go(report: Any) -> None:
    assert report.unique(["a", "b", "a", "x b y", "a b"]) == ["x b y", "a b"]


def test_names_are_whole_words(report: Any) -> None:
    shown = report.grouped({"pi": ["pi: see pi-01"], "pi-01": ["pi-01: see pi-01"]})
    assert shown == ["pi: see pi-01", "pi-01: see pi-01"]


def test_a_message_may_be_a_list_or_nothing(report: Any) -> None:
    assert report.result_text({"msg": ["x", "y"]}) == "x\ny"
    assert report.result_text({})
    assert report.result_text({"msg": "Task failed: Module failed: x"}) == "x"
    assert report.result_text({"msg": "a: Task failed: x"}) == "a: x"
    wrapped = "Task failed: Finalization of task args for 'a' failed: The filter plugin 'ik_llama.pi.b' failed: x"
    assert report.result_text({"msg": wrapped}) == "x"
    other = "The filter plugin 'ansible.builtin.b' failed: x"
    assert report.result_text({"msg": other}) == other
