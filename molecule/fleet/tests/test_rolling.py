"""A fleet changes one board first, stops at the first that answers nonsense, and can be taken back."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from conftest import BOARDS
from naming import named, unnamed
from runs import facts, failures, refused, results, shown, stats

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


def test_a_run_with_nothing_to_do_has_few_tasks(play: Any) -> None:
    run = play("site.yml")
    assert run.returncode == 0, run.stdout
    counted = stats(run.stdout)
    assert not any(counts["changed"] for counts in counted.values()), counted
    counted = {name: counts for name, counts in counted.items() if name in BOARDS}
    assert sorted(counted) == sorted(BOARDS)
    # Five preflights, each of which checks its arguments and publishes a plan; what serves is said once.
    assert max(counts["ok"] + counts["skipped"] for counts in counted.values()) <= 24, counted


def test_check_mode_reports_another_model_and_neither_makes_it_nor_tries_the_old_one(
    boards: dict[str, Any], play: Any
) -> None:
    before = serving(boards)
    run = play("site.yml", "--check", "--diff", "-e", "gguf_quantize_recipe=rpi5-16gb-fast")
    assert run.returncode == 0, run.stdout
    missing = [facts(run.stdout, name)["llama_server_plan"]["missing"] for name in BOARDS]
    assert missing == [["model"]] * len(BOARDS), run.stdout
    assert sorted(found.host for found in results(run.stdout, "llama_deployment") if found.changed) == list(BOARDS)
    assert serving(boards) == before


def test_check_mode_reports_a_restart_for_which_nothing_is_to_be_made(boards: dict[str, Any], play: Any) -> None:
    """The deployment was built before."""
    board = boards["pi-03"]
    only = ("--limit", "pi-03", "-e", "llama_server_threads=2")
    assert play("playbooks/serve.yml", *only).returncode == 0
    before = board.check_output(f"readlink {CURRENT}")
    assert play("playbooks/serve.yml", *only[:2]).returncode == 0
    run = play("playbooks/serve.yml", "--check", *only)
    assert run.returncode == 0, run.stdout
    assert stats(run.stdout)["pi-03"]["changed"] == 1
    assert any(not unnamed(line, "pi-03", Path(before).name) for line in shown(run.stdout, "pi-03", "ok").splitlines())


def test_an_upgrade_stops_at_the_board_that_answers_nonsense(
    boards: dict[str, Any], play: Any, asked: Any, tmp_path: Path
) -> None:
    before = serving(boards)
    model = json.loads(boards["pi-03"].file(f"{CURRENT}/deployment.json").content_string)["model"][:12]
    (tmp_path / "nonsense.yml").write_text(NONSENSE)
    upgrade = ["playbooks/upgrade.yml", "-e", "gguf_quantize_recipe=rpi5-16gb-fast"]
    run = play("-i", str(tmp_path / "nonsense.yml"), *upgrade)
    after = serving(boards)
    assert run.returncode == 2
    # The plan is shown: what goes from pi-03.
    assert any(not unnamed(line, "pi-03", model) for line in shown(run.stdout, "", "ok").splitlines())
    became = {name: facts(run.stdout, name) for name in BOARDS}
    old, new = (when["pi-01"][0].rsplit("/", 1)[1] for when in (before, after))
    assert unnamed(became["pi-01"]["serve_outcome"], new, old) == []
    assert "serve_failure" not in became["pi-01"]
    old = before["pi-02"][0].rsplit("/", 1)[1]
    assert "serve_outcome" not in became["pi-02"]
    assert unnamed(became["pi-02"]["serve_failure"], "pi-02", old, "abcdefgh") == []
    for name in ("pi-03", "pi-04"):
        assert not {"serve_begun", "serve_outcome", "serve_failure"} & set(became[name])
    messages = [str(found.data.get("msg", "")) for found in results(run.stdout, "debug")]
    (summary,) = (text for text in messages if became["pi-01"]["serve_outcome"] in text)
    # The board that fails reports itself.
    named_first = [line.partition(":")[0] for line in summary.splitlines()]
    assert named_first[:2] == ["pi-01", "pi-03, pi-04"]
    assert set(failures(run.stdout)) == {"pi-02"}
    # The log of the new one is reported, once; the one before it answers again.
    asked_again = [found for found in results(run.stdout, "llama_answer") if found.host == "pi-02"]
    assert [found.outcome for found in asked_again][-2:] == ["failed", "ok"]
    journal = asked_again[-2].data["journal"]
    assert journal
    assert unnamed(became["pi-02"]["serve_failure"], journal[-1]) == []
    assert became["pi-02"]["serve_failure"].count(journal[-1]) == journal[-8:].count(journal[-1])

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
    assert facts(run.stdout, "pi-01")["rollback_objection"] == ""
    assert facts(run.stdout, "pi-03")["rollback_objection"]
    assert asked(boards["pi-01"], 8080) == "abcdefghijkl"
    again = play("site.yml")
    assert again.returncode == 0, again.stdout
    assert stats(again.stdout)["pi-01"]["changed"] in (1, 2)  # the pointer to the model goes back too
    assert serving(boards) == after


def test_a_bad_option_of_one_board_touches_none(boards: dict[str, Any], play: Any, tmp_path: Path) -> None:
    before = serving(boards)
    (tmp_path / "bad.yml").write_text("pis:\n  hosts:\n    pi-03:\n      llama_server_extra: [--treads, '2']\n")
    run = play("-i", str(tmp_path / "bad.yml"), "site.yml", "-e", "llama_server_threads=2")
    assert run.returncode == 2
    assert unnamed(refused(run.stdout, "pi-03"), "--treads") == []
    assert not any(named(refused(run.stdout, name), "--treads") for name in BOARDS if name != "pi-03")
    assert serving(boards) == before


def test_other_api_keys_are_written_when_it_is_a_board_s_turn(
    boards: dict[str, Any], play: Any, asked: Any, tmp_path: Path
) -> None:
    file = "/etc/llama-server/api-keys"
    two = {name: boards[name] for name in ("pi-01", "pi-02")}

    def serve(key: str, *more: str) -> Any:
        keys = tmp_path / "keys.yml"
        keys.write_text(f"llama_server_api_keys: [{key}]\n")
        return play(*more, "playbooks/serve.yml", "--limit", ",".join(two), "-e", f"@{keys}", plain=True)

    run = serve("the-first-of-two-keys")
    assert run.returncode == 0, run.stdout
    before = serving(two)
    (tmp_path / "nonsense.yml").write_text(NONSENSE.replace("pi-02", "pi-01"))
    run = serve("the-other-of-two-keys", "-i", str(tmp_path / "nonsense.yml"))
    assert run.returncode == 2
    assert "of-two-keys" not in run.stdout
    assert serving(two)["pi-02"] == before["pi-02"]
    assert serving(two)["pi-01"][0] == before["pi-01"][0]
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
    # As if it had been cut off before the end; nothing else is left to do.
    boards["pi-01"].check_output(f"echo the-first-of-two-keys > {file}.before")
    again = serve("the-other-of-two-keys")
    assert [again.stdout.count(f"changed={number} ") for number in (0, 1)] == [1, 1], again.stdout
    assert not boards["pi-01"].file(f"{file}.before").exists
    assert play("playbooks/serve.yml", "--limit", ",".join(two)).returncode == 0


def test_a_controller_killed_in_the_middle_leaves_every_board_serving(
    boards: dict[str, Any], play: Any, begin_playbook: Any, asked: Any
) -> None:
    before = serving(boards)
    controller = begin_playbook("site.yml", "-e", "llama_server_threads=2")
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
        assert board.check_output("readlink /var/lib/llama/verified") == board.check_output(f"readlink {CURRENT}")


def test_a_first_board_that_is_lost_is_reported_and_rolled_back(
    boards: dict[str, Any], play: Any, begin_playbook: Any, podman: Any, fleet: Any, asked: Any
) -> None:
    before = serving(boards)
    board = boards["pi-01"]
    # So long an answer takes half a minute.
    options = ["-e", "llama_server_threads=1", "-e", "llama_server_probe_tokens=8000"]
    # Connections of earlier runs would be waited for.
    fresh = "-o ControlPath=none -o ServerAliveInterval=2 -o ServerAliveCountMax=2"
    options += ["-e", f"ansible_ssh_args='{fresh}'", "-e", "ansible_timeout=5"]
    with begin_playbook("playbooks/serve.yml", *options) as controller:
        deadline = time.monotonic() + 120
        runs = "readlink /proc/$(systemctl show -P MainPID llama-server)/cwd"
        while board.run(runs).stdout.strip() in ("", f"/var/lib/llama/{before['pi-01'][0]}"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(3)  # it is asked now
        podman("kill", f"{fleet.variable('localhost', 'lab_host_instance')}-pi-01")
        output = controller.ended(180)
    fleet.restart("pi-01")
    assert controller.returncode == 2, output
    first, second = facts(output, "pi-01"), facts(output, "pi-02")
    assert first["serve_begun"] is True, output
    assert "serve_outcome" not in first
    assert "serve_begun" not in second
    assert "unreachable" in {found.outcome for found in results(output) if found.host == "pi-01"}
    # Boards of which the same is to be said have one line.
    lines = [line.partition(":")[0] for line in shown(output, "", "ok", "failed").splitlines()]
    assert set(BOARDS) <= {name for line in lines for name in line.split(", ")}
    assert board.check_output("readlink /var/lib/llama/verified") == before["pi-01"][0]
    assert board.check_output(f"readlink {CURRENT}") != before["pi-01"][0]

    run = play("playbooks/rollback.yml")
    assert run.returncode == 0, run.stdout
    after = serving(boards)
    assert after["pi-01"][0] == before["pi-01"][0]
    assert {name: after[name] for name in BOARDS[1:]} == {name: before[name] for name in BOARDS[1:]}
    assert asked(board, 8080) == "abcdefghijkl"


def test_a_board_that_is_lost_does_not_keep_its_mate_from_finishing(
    boards: dict[str, Any], play: Any, begin_playbook: Any, podman: Any, fleet: Any, asked: Any
) -> None:
    """Both are in one batch; the first is lost while its service starts, which takes it half a minute here."""
    before = serving(boards)
    board = boards["pi-01"]
    slow = "/run/systemd/system/llama-server.service.d/slow.conf"
    board.check_output(f"mkdir -p $(dirname {slow}) && printf '[Service]\\nExecStartPre=/bin/sleep 30\\n' > {slow}")
    fresh = "-o ControlPath=none -o ServerAliveInterval=2 -o ServerAliveCountMax=2"
    options = ["-e", f"ansible_ssh_args='{fresh}'", "-e", "ansible_timeout=5"]
    options += ["-e", "fleet_serial=2", "-e", "llama_server_threads=1"]
    with begin_playbook("playbooks/serve.yml", *options) as controller:
        deadline = time.monotonic() + 120
        while board.run("systemctl show -P SubState llama-server").stdout.strip() != "start-pre":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        podman("kill", f"{fleet.variable('localhost', 'lab_host_instance')}-pi-01")
        output = controller.ended(180)
    # What is below /run is gone with it.
    fleet.restart("pi-01")
    assert controller.returncode == 4, output
    assert "serve_outcome" not in facts(output, "pi-01")
    assert "serve_outcome" in facts(output, "pi-02"), output
    after = serving(boards)
    assert after["pi-02"][0] != before["pi-02"][0]
    assert boards["pi-02"].check_output("readlink /var/lib/llama/verified") == after["pi-02"][0]
    assert {name: after[name] for name in ("pi-03", "pi-04")} == {name: before[name] for name in ("pi-03", "pi-04")}
    run = play("playbooks/rollback.yml")
    assert run.returncode == 0, run.stdout
    assert {deployment for deployment, _ in serving(boards).values()} == {before["pi-03"][0]}
    for name in ("pi-01", "pi-02"):
        assert asked(boards[name], 8080) == "abcdefghijkl"


def test_the_table_tells_four_truths(
    boards: dict[str, Any], play: Any, podman: Any, fleet: Any, process: Any, tmp_path: Path
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
        as_json = ["-e", f"status_file={tmp_path}/status.json"]
        # Earlier tests may have left another number than the inventory's.
        words = process(boards["pi-01"])["words"]
        as_json += ["-e", f"llama_server_threads={words[words.index('--threads') + 1]}"]
        run = play("-i", str(tmp_path / "drift.yml"), "playbooks/status.yml", *fresh, *as_json)
    finally:
        podman("start", away)
        fake.check_output("rm /usr/local/bin/vcgencmd")
    assert run.returncode == 0, run.stdout
    status = {found["name"]: found for found in json.loads((tmp_path / "status.json").read_text())}
    assert sorted(status) == sorted(BOARDS)
    assert status["pi-01"]["server"]["health"] == "ok"
    assert status["pi-01"]["changes"] == status["pi-02"]["changes"] == []
    assert status["pi-01"]["board"]["throttled"]["now"] == []
    assert "under-voltage" in status["pi-02"]["board"]["throttled"]["now"]
    assert status["pi-03"]["problem"]
    assert not any("problem" in found for name, found in status.items() if name != "pi-03")
    (change,) = status["pi-04"]["changes"]
    assert unnamed(change, "--ctx-size", 16384, 8192) == []
    # And the table has a line for each of them.
    lines = {line.split()[0]: line for line in shown(run.stdout, "", "ok").splitlines() if line.startswith("pi-0")}
    assert sorted(lines) == sorted(BOARDS)
    assert "under-voltage" in lines["pi-02"]
    assert "under-voltage" not in lines["pi-01"]
    assert status["pi-03"]["problem"] in lines["pi-03"]
    assert change in lines["pi-04"]
