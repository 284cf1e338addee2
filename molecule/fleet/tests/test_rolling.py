"""A fleet changes one board first, stops at the first that answers nonsense, and can be taken back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from conftest import BOARDS, INVENTORY, PROJECT

CURRENT = "/var/lib/llama/current"
#: The real server, whose chat template lets the model go on after another letter.
NONSENSE = """
pis:
  hosts:
    pi-02:
      llama_server_extra: [--chat-template, "{{ '{{ messages[0].content }} hijk' }}"]
"""


def serving(boards: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Deployment in service and process of each board."""
    return {
        name: (board.check_output(f"readlink {CURRENT}"), board.check_output("systemctl show -P MainPID llama-server"))
        for name, board in boards.items()
    }


def said(run: Any) -> str:
    return " ".join(run.stdout.split())


def test_a_run_with_nothing_to_do_has_few_tasks(play: Any) -> None:
    run = play("site.yml")
    assert run.returncode == 0, run.stdout
    counted = {name: int(ok) for name, ok in re.findall(r"^(pi-\d+) +: ok=(\d+) +changed=0 ", run.stdout, re.M)}
    assert sorted(counted) == sorted(BOARDS)
    assert max(counted.values()) <= 20, counted


def test_check_mode_tells_of_another_model_and_neither_makes_it_nor_tries_the_old_one(
    boards: dict[str, Any], play: Any
) -> None:
    before = serving(boards)
    run = play("site.yml", "--check", "--diff", "-e", "gguf_quantize_recipe=rpi5-16gb-lean")
    assert run.returncode == 0, run.stdout
    assert said(run).count("a deployment, as soon as there is: model") == len(BOARDS), run.stdout
    assert serving(boards) == before


def test_an_upgrade_stops_at_the_board_that_answers_nonsense(
    boards: dict[str, Any], play: Any, asked: Any, tmp_path: Path
) -> None:
    before = serving(boards)
    (tmp_path / "nonsense.yml").write_text(NONSENSE)
    upgrade = ["playbooks/upgrade.yml", "-e", "gguf_quantize_recipe=rpi5-16gb-lean"]
    run = play("-i", str(tmp_path / "nonsense.yml"), *upgrade)
    after = serving(boards)
    assert run.returncode == 2
    assert "pi-03: model " in said(run)  # the plan, shown first
    summary = run.stdout[run.stdout.rindex("TASK [Say what became of each board]") :].splitlines()
    lines = {name: next(line.strip() for line in summary if line.strip().startswith(f"{name}:")) for name in BOARDS}
    assert re.fullmatch(r"pi-01: serves deployment \w{12} \(before: \w{12}\)", lines["pi-01"])
    old = before["pi-02"][0].rsplit("/", 1)[1]
    assert f"does not serve; the one before it ({old}) serves again" in lines["pi-02"]
    assert lines["pi-03"] == "pi-03: not touched, because another board failed"
    assert lines["pi-04"] == "pi-04: not touched, because another board failed"
    # The cause and the log's last lines are said once, and nothing that passes by follows the first failure.
    assert said(run).count("(abcdefgh)") == 1
    assert said(run).count("journalctl -u llama-server.service") == 1
    assert len(run.stdout[run.stdout.index("\nfailed: [pi-02]") :].strip().splitlines()) <= 41

    assert after["pi-01"][0] != before["pi-01"][0]
    assert after["pi-02"][0] == before["pi-02"][0]
    assert after["pi-03"] == before["pi-03"]  # deployment and process
    assert after["pi-04"] == before["pi-04"]
    for board in boards.values():
        assert asked(board, 8080) == "abcdefghijkl"


def test_rollback_returns_the_first_and_leaves_the_others(boards: dict[str, Any], play: Any, asked: Any) -> None:
    before = serving(boards)
    run = play("playbooks/rollback.yml")
    after = serving(boards)
    assert run.returncode == 0, run.stdout
    assert after["pi-01"][0] == before["pi-02"][0]
    assert {name: after[name] for name in BOARDS[1:]} == {name: before[name] for name in BOARDS[1:]}
    assert "pi-03 stays as it is: " in said(run)
    assert asked(boards["pi-01"], 8080) == "abcdefghijkl"
    again = play("site.yml")
    assert again.returncode == 0, again.stdout
    assert re.search(r"pi-01 +: ok=\d+ +changed=[12] ", again.stdout)  # the pointer to the model goes back too
    assert serving(boards) == after


def test_a_bad_option_of_one_board_touches_none(boards: dict[str, Any], play: Any, tmp_path: Path) -> None:
    before = serving(boards)
    (tmp_path / "bad.yml").write_text("pis:\n  hosts:\n    pi-03:\n      llama_server_extra: [--treads, '2']\n")
    run = play("-i", str(tmp_path / "bad.yml"), "site.yml", "-e", "llama_server_threads=2")
    assert run.returncode == 2
    assert "pi-03" in said(run)
    assert "unknown argument: --treads" in said(run)
    assert serving(boards) == before


def test_other_api_keys_are_written_when_it_is_a_board_s_turn(
    boards: dict[str, Any], play: Any, asked: Any, tmp_path: Path
) -> None:
    file = "/etc/llama-server/api-keys"
    two = {name: boards[name] for name in ("pi-01", "pi-02")}

    def serve(key: str, *more: str) -> Any:
        keys = tmp_path / "keys.yml"
        keys.write_text(f"llama_server_api_keys: [{key}]\n")
        return play(*more, "playbooks/serve.yml", "--limit", ",".join(two), "-e", f"@{keys}")

    run = serve("the-first-of-two-keys")
    assert run.returncode == 0, run.stdout
    before = serving(two)
    (tmp_path / "nonsense.yml").write_text(NONSENSE.replace("pi-02", "pi-01"))
    run = serve("the-other-of-two-keys", "-i", str(tmp_path / "nonsense.yml"))
    assert run.returncode == 2
    assert "Its API keys are those from before." in said(run)
    assert "pi-02: not touched, because another board failed" in said(run)
    assert "of-two-keys" not in run.stdout
    assert serving(two)["pi-02"] == before["pi-02"]
    for board in two.values():
        assert board.file(file).content_string == "the-first-of-two-keys\n"
        assert asked(board, 8080, key_file=file) == "abcdefghijkl"

    before = serving(two)
    run = serve("the-other-of-two-keys")
    assert run.returncode == 0, run.stdout
    for name, board in two.items():
        assert board.file(file).content_string == "the-other-of-two-keys\n"
        assert not board.file(f"{file}.before").exists
        assert asked(board, 8080, key_file=file) == "abcdefghijkl"
        assert serving(two)[name][0] == before[name][0]
        assert serving(two)[name][1] != before[name][1]
    again = serve("the-other-of-two-keys")
    assert again.stdout.count("changed=0") == 2, again.stdout
    boards["pi-01"].check_output(
        f"echo the-first-of-two-keys > {file}.before"
    )  # as if it had been cut off before the end
    assert serve("the-other-of-two-keys").returncode == 0
    assert not boards["pi-01"].file(f"{file}.before").exists
    assert play("playbooks/serve.yml", "--limit", ",".join(two)).returncode == 0


def test_a_controller_killed_in_the_middle_leaves_every_board_serving(
    boards: dict[str, Any], play: Any, asked: Any
) -> None:
    before = serving(boards)
    command = ["ansible-playbook", "-i", str(INVENTORY), "site.yml", "-e", "llama_server_threads=2"]
    controller = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 180
    while boards["pi-02"].check_output(f"readlink {CURRENT}") == before["pi-02"][0]:
        assert time.monotonic() < deadline
        assert controller.poll() is None
        time.sleep(0.1)
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    assert serving(boards)["pi-04"] == before["pi-04"]
    for board in boards.values():
        assert asked(board, 8080) == "abcdefghijkl"
    run = play("site.yml", "-e", "llama_server_threads=2")
    assert run.returncode == 0, run.stdout
    assert len({deployment for deployment, _ in serving(boards).values()}) == 1
    for board in boards.values():
        assert asked(board, 8080) == "abcdefghijkl"
        assert board.check_output("readlink /var/lib/llama/proven") == board.check_output(f"readlink {CURRENT}")
    assert play("site.yml").returncode == 0


def test_a_first_board_that_goes_away_is_told_of_and_taken_back(
    boards: dict[str, Any], play: Any, podman: Any, fleet: Any, asked: Any
) -> None:
    before = serving(boards)
    board = boards["pi-01"]
    # So long an answer takes half a minute.
    options = ["-e", "llama_server_threads=2", "-e", "llama_server_probe_tokens=8000"]
    # Connections of earlier runs would be waited for.
    fresh = "-o ControlPath=none -o ServerAliveInterval=2 -o ServerAliveCountMax=2"
    command = ["ansible-playbook", "-i", str(INVENTORY), "playbooks/serve.yml", "-e", f"ansible_ssh_args='{fresh}'"]
    with subprocess.Popen(
        [*command, "-e", "ansible_timeout=5", *options],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "false"},
        stdout=subprocess.PIPE,
        text=True,
    ) as controller:
        deadline = time.monotonic() + 120
        runs = "readlink /proc/$(systemctl show -P MainPID llama-server)/cwd"
        while board.run(runs).stdout.strip() in ("", f"/var/lib/llama/{before['pi-01'][0]}"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(3)  # it is asked now
        podman("kill", f"{fleet.variable('localhost', 'lab_host_instance')}-pi-01")
        output = controller.communicate(timeout=180)[0]
    fleet.restart("pi-01")
    assert controller.returncode == 2, output
    lines = [line.strip() for line in output.splitlines()]
    assert "pi-01: went away while it was changed: see to it, and run site.yml again, which ends that" in lines, output
    assert "pi-02: not touched, because another board failed" in lines
    assert board.check_output("readlink /var/lib/llama/proven") == before["pi-01"][0]
    assert board.check_output(f"readlink {CURRENT}") != before["pi-01"][0]

    run = play("playbooks/rollback.yml")
    assert run.returncode == 0, run.stdout
    after = serving(boards)
    assert after["pi-01"][0] == before["pi-01"][0]
    assert {name: after[name] for name in BOARDS[1:]} == {name: before[name] for name in BOARDS[1:]}
    assert asked(board, 8080) == "abcdefghijkl"


def test_the_table_tells_four_truths(
    boards: dict[str, Any], play: Any, podman: Any, fleet: Any, tmp_path: Path
) -> None:
    fake = boards["pi-02"]
    fake.check_output("printf '#!/bin/sh\\necho throttled=0x50005\\n' > /usr/local/bin/vcgencmd")
    fake.check_output("chmod +x /usr/local/bin/vcgencmd")
    (tmp_path / "drift.yml").write_text("pis:\n  hosts:\n    pi-04:\n      llama_server_context: 8192\n")
    away = f"{fleet.variable('localhost', 'lab_host_instance')}-pi-03"
    podman("kill", away)
    try:
        # Connections of earlier runs would be waited for.
        fresh = ["-e", "ansible_ssh_extra_args='-o ControlPath=none'", "-e", "ansible_timeout=5"]
        run = play("-i", str(tmp_path / "drift.yml"), "playbooks/status.yml", *fresh)
    finally:
        podman("start", away)
        fake.check_output("rm /usr/local/bin/vcgencmd")
    assert run.returncode == 0, run.stdout
    lines = {line.split()[0]: line.strip() for line in run.stdout.splitlines() if re.match(r" +pi-0\d ", line)}
    assert re.search(r"^pi-01 +ok .* nothing$", lines["pi-01"])
    assert "under-voltage" in lines["pi-02"]
    assert lines["pi-02"].endswith("nothing")
    assert "under-voltage" not in lines["pi-01"]
    assert re.search(r"^pi-03 +unreachable: ", lines["pi-03"])
    assert lines["pi-04"].endswith("--ctx-size 16384 -> 8192")
