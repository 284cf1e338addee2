"""Clients do not notice that the boards behind the gateway change. Afterwards it reaches every board that serves."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import changed, failures, refused

BOARDS = ("pi-01", "pi-02", "pi-03")
KEY_FILE = "/etc/llama-server/api-keys"
NEW_KEY = "new-key-of-all-boards-0123456789"
#: The real server, whose chat template lets the model go on after another letter.
NONSENSE = """
pis:
  hosts:
    pi-02:
      llama_server_extra: [--chat-template, "{{ '{{ messages[0].content }} hijk' }}"]
"""


@pytest.fixture
def reached(gateway: Any, client: Any) -> Callable[[], dict[str, tuple[str, str]]]:
    """Return the address and the state of each board at the gateway, once those that serve are up."""

    def look() -> dict[str, tuple[str, str]]:
        lines = re.findall(
            r"^ *server (\S+) (\S+) maxconn \d+$", gateway.file("/etc/llama-gateway/haproxy.cfg").content_string, re.M
        )
        for _ in range(20):
            states = {name: client("servers.py")[name]["status"] for name in BOARDS}
            if set(states.values()) == {"UP"}:
                break
            time.sleep(1)
        return {name: (at, states[name]) for name, at in lines}

    return look


def keys(fleet: Any) -> set[str]:
    return {fleet.host(name).file(KEY_FILE).content_string for name in BOARDS}


def serving(fleet: Any) -> dict[str, str]:
    return {name: fleet.host(name).check_output("readlink /var/lib/llama/current") for name in BOARDS}


def test_other_options_and_another_key_lose_no_request_and_cut_no_stream(
    client: Any, load: Any, play: Any, fleet: Any, reached: Any, capsys: Any
) -> None:
    before = serving(fleet)
    thread, asked = load(client, 300, 2.0, 200)
    change = {"llama_server_context": 4096, "llama_server_api_keys": [NEW_KEY]}
    begun = time.time()
    run = play("playbooks/serve.yml", "-e", json.dumps(change))
    seconds = time.time() - begun
    thread.join()
    assert run.returncode == 0, run.stdout
    assert NEW_KEY not in run.stdout
    during = [result for result in asked if result["begun"] < begun + seconds]
    with capsys.disabled():
        print(f"\n{len(asked)} requests, {len(during)} of them during the {seconds:.0f} s of the change")
    assert len(asked) == 300
    assert [result for result in asked if result["wrong"]] == []
    assert set(serving(fleet).values()).isdisjoint(before.values())
    # Both were valid for a time; now one is.
    assert keys(fleet) == {f"{NEW_KEY}\n"}
    assert reached() == {name: (f"{name}:8080", "UP") for name in BOARDS}


def test_no_answer_of_a_deployment_that_fails_reaches_a_client(
    client: Any, load: Any, play: Any, fleet: Any, reached: Any, tmp_path: Path
) -> None:
    """The second board answers nonsense, and its key would be another one."""
    before = serving(fleet)
    (tmp_path / "nonsense.yml").write_text(NONSENSE)
    thread, asked = load(client, 150, 2.0, 200)
    change = {"llama_server_context": 2048, "llama_server_api_keys": ["key-of-all-boards-0123456789"]}
    run = play("-i", str(tmp_path / "nonsense.yml"), "playbooks/serve.yml", "-e", json.dumps(change))
    thread.join()
    assert run.returncode == 2
    assert set(failures(run.stdout)) == {"pi-02"}
    assert [result for result in asked if result["wrong"]] == []
    after = serving(fleet)
    assert after["pi-01"] != before["pi-01"]
    assert (after["pi-02"], after["pi-03"]) == (before["pi-02"], before["pi-03"])
    # The first board has both keys, because the gateway uses the one that the others have.
    assert fleet.host("pi-01").file(KEY_FILE).content_string.split() == ["key-of-all-boards-0123456789", NEW_KEY]
    assert reached() == {name: (f"{name}:8080", "UP") for name in BOARDS}


def test_a_board_that_a_killed_run_left_drained_gets_requests_again(
    client: Any, load: Any, play: Any, begin_play: Any, fleet: Any, reached: Any
) -> None:
    thread, asked = load(client, 60, 2.0, 200)
    controller = begin_play("playbooks/serve.yml")
    deadline = time.monotonic() + 180
    while client("servers.py")["pi-01"]["status"] != "DRAIN":
        assert time.monotonic() < deadline
        assert controller.poll() is None, controller.ended()[-3000:]
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    thread.join()
    assert client("servers.py")["pi-01"]["status"] == "DRAIN"
    assert play("playbooks/serve.yml").returncode == 0
    assert [result for result in asked if result["wrong"]] == []
    assert reached() == {name: (f"{name}:8080", "UP") for name in BOARDS}
    assert len(set(serving(fleet).values())) == 1
    assert all(NEW_KEY not in text for text in keys(fleet))


def test_a_limited_run_changes_one_line_and_a_rollback_changes_it_back(play: Any, reached: Any) -> None:
    at = {name: (f"{name}:8080", "UP") for name in BOARDS}
    run = play("playbooks/serve.yml", "--limit", "pi-02", "-e", "llama_server_port=8081")
    assert run.returncode == 2, run.stdout
    assert unnamed(refused(run.stdout, "pi-02"), "pi-02", "gateway", "--limit", "llama_server_port", 8081) == []
    assert changed(run.stdout) == 0
    assert reached() == at
    run = play("playbooks/serve.yml", "--limit", "pi-02,gateway", "-e", "llama_server_port=8081")
    assert run.returncode == 0, run.stdout
    assert reached() == {**at, "pi-02": ("pi-02:8081", "UP")}
    # Another wish of the inventory, which no board serves, changes nothing.
    assert play("playbooks/gateway.yml", "-e", "llama_server_port=8082").returncode == 0
    assert reached() == {**at, "pi-02": ("pi-02:8081", "UP")}
    assert play("playbooks/rollback.yml").returncode == 0
    assert reached() == at


def test_boards_that_are_renamed_moved_removed_and_added(
    run_playbook: Any, gateway: Any, client: Any, fleet: Any, reached: Any, tmp_path: Path
) -> None:
    """The inventory has the third board under another name, then not at all, then as before."""

    def run(playbook: str, boards: int, *inventory: Path) -> dict[str, str]:
        overlays = [part for path in inventory for part in ("-i", str(path))]
        base = ("-i", str(Path(__file__).resolve().parents[1] / "inventory"), *overlays)
        done = run_playbook(*base, playbook, environment={"LAB_BOARDS": str(boards)})
        assert done.returncode == 0, done.stdout
        text = gateway.file("/etc/llama-gateway/haproxy.cfg").content_string
        at = dict(re.findall(r"^ *server (\S+) (\S+) maxconn \d+$", text, re.M))
        for _ in range(20):
            states = {name: client("servers.py")[name]["status"] for name in at}
            if set(states.values()) == {"UP"}:
                return at
            time.sleep(1)
        raise AssertionError(states)

    address = fleet.host("pi-01").check_output("hostname -I").split()[0]
    port = fleet.variable("pi-03", "ansible_port")
    hosts = {
        "kitchen": {"ansible_port": port, "gateway_board_address": "pi-03"},
        "pi-01": {"gateway_board_address": address},
    }
    (tmp_path / "hosts.yml").write_text(json.dumps({"pis": {"hosts": hosts}}))
    renamed = run("playbooks/serve.yml", 2, tmp_path / "hosts.yml")
    assert renamed == {"pi-01": f"{address}:8080", "pi-02": "pi-02:8080", "kitchen": "pi-03:8080"}
    assert run("playbooks/gateway.yml", 2) == {"pi-01": "pi-01:8080", "pi-02": "pi-02:8080"}
    assert run("playbooks/serve.yml", 3) == {name: f"{name}:8080" for name in BOARDS}


def test_a_board_in_maintenance_gets_no_request_and_comes_back(
    client: Any, load: Any, play: Any, fleet: Any, reached: Any
) -> None:
    thread, asked = load(client, 60, 2.0, 200)
    pi = fleet.host("pi-03")
    assert play("playbooks/maintenance.yml", "--limit", "pi-03").returncode == 0
    assert not pi.service("llama-server").is_running
    assert not pi.service("llama-server").is_enabled
    assert play("playbooks/maintenance.yml", "--limit", "pi-03", "-e", "maintenance=end").returncode == 0
    thread.join()
    assert [result for result in asked if result["wrong"]] == []
    assert pi.service("llama-server").is_enabled
    assert reached() == {name: (f"{name}:8080", "UP") for name in BOARDS}
    refused_run = play("playbooks/maintenance.yml")
    assert refused_run.returncode == 2
    assert all(not unnamed(refused(refused_run.stdout, name), "--limit") for name in BOARDS)
