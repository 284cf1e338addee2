"""The service answers, is confined, and survives a restart. What a fleet survives is in the scenario `fleet`."""

from __future__ import annotations

import json
import re
from typing import Any

from naming import unnamed
from runs import results, shown

ROOT = "/var/lib/llama"
LETTERS = "abcdefghijkl"


def test_service_answers(board: Any, asked: Any) -> None:
    service = board.service("llama-server")
    assert service.is_running, board.run("journalctl -u llama-server -n 40").stdout
    assert service.is_enabled
    assert asked(board, 8080) == LETTERS


def test_it_listens_on_loopback_only(board: Any) -> None:
    assert board.socket("tcp://127.0.0.1:8080").is_listening
    assert not board.socket("tcp://0.0.0.0:8080").is_listening


def test_options_of_the_card(board: Any, process: Any) -> None:
    line = " ".join(process(board)["words"])
    for part in ("--ctx-size 16384", "--mlock", "--log-disable", "--port 8080"):
        assert part in line
    assert "--cache-ram 0 --ctx-checkpoints 4" in line


def test_process_works_in_the_deployment_that_the_pointer_names(board: Any, process: Any) -> None:
    assert process(board)["cwd"] == board.file(f"{ROOT}/current").linked_to
    deployment = json.loads(board.file(f"{ROOT}/current/deployment.json").content_string)
    assert board.check_output(f"readlink -f {ROOT}/current/model").endswith(f"/{deployment['model'][:12]}.gguf")
    assert board.check_output(f"readlink -f {ROOT}/current/engine") == f"/opt/ik_llama/releases/{deployment['release']}"


def test_memory_is_locked_as_far_as_the_container_allows(board: Any, process: Any) -> None:
    text = process(board)["text"]
    locked = int(re.search(r"VmLck:\s+(\d+) kB", text)[1]) * 1024  # type: ignore[index]
    limit = re.search(r"Max locked memory\s+(\S+)", text)[1]  # type: ignore[index]
    model = board.file(board.check_output(f"readlink -f {ROOT}/current/model")).size
    most = model if limit == "unlimited" else min(model, int(limit))
    assert locked > 0.95 * most


def test_user_owners_and_modes(board: Any, process: Any) -> None:
    assert f"Uid:\t{board.user('llama').uid}\t" in process(board)["text"]
    assert board.user("llama").shell == "/usr/sbin/nologin"
    for path in ("deployments", "current/run", "current/deployment.json", "current/llama-server.service"):
        file = board.file(board.check_output(f"readlink -f {ROOT}/{path}"))
        assert (file.user, file.group) == ("root", "root")
        assert file.mode & 0o022 == 0, path


def test_the_shipped_unit_is_confined(board: Any) -> None:
    unit = board.file("/etc/systemd/system/llama-server.service").content_string
    for line in ("LimitMEMLOCK=infinity", "ProtectSystem=strict", "NoNewPrivileges=yes", "Restart=on-failure"):
        assert f"\n{line}\n" in unit
    assert unit == board.file(f"{ROOT}/current/llama-server.service").content_string


def test_it_comes_back_when_killed(board: Any, asked: Any) -> None:
    before = board.check_output("systemctl show -P MainPID llama-server")
    board.check_output("systemctl kill --signal=KILL llama-server")
    board.check_output("sleep 3")
    assert asked(board, 8080) == LETTERS
    assert board.check_output("systemctl show -P MainPID llama-server") != before


def test_it_is_asked_where_it_serves_and_not_where_the_inventory_says(run_playbook: Any) -> None:
    run = run_playbook("playbooks/ask.yml", "--limit", "pi-01", "-e", "llama_server_port=9999", "-e", "tokens=12")
    assert run.returncode == 0, run.stdout
    (answer,) = results(run.stdout, "llama_answer")
    assert (answer.host, answer.data["answer"].strip()) == ("pi-01", LETTERS)
    assert unnamed(shown(run.stdout, "pi-01", "ok"), "pi-01", LETTERS) == []


def test_it_serves_after_a_restart_of_the_board(fleet: Any, board: Any, asked: Any) -> None:
    fleet.restart("pi-01")
    assert asked(board, 8080) == LETTERS
    assert board.service("llama-server").is_running


def test_removing_leaves_only_what_is_to_be_kept(board: Any, run_playbook: Any) -> None:
    """The last test: after it the board serves no more."""
    run = run_playbook("playbooks/remove.yml", "--limit", "pi-01", "-e", '{"keep": ["engine", "board"]}')
    assert run.returncode == 0, run.stdout
    for path in (ROOT, "/etc/systemd/system/llama-server.service", "/etc/llama-server"):
        assert not board.file(path).exists, path
    assert not board.user("llama").exists
    assert not board.service("llama-server").is_running
    assert board.file("/opt/ik_llama/current/bin/llama-server").exists
