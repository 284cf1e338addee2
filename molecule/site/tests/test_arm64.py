"""Roles that other scenarios test on boards with this machine's architecture work on an ARM64 board too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runs import results, shown


def test_metrics(board: Any, run_playbook: Any) -> None:
    run = run_playbook("playbooks/metrics.yml", "--limit", "pi-01")
    assert run.returncode == 0, shown(run.stdout)
    assert board.service("pi-metrics.timer").is_running
    board.check_output("systemctl start pi-metrics.service")
    program = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9100/metrics').read().decode())"
    assert "llama_server_active 1" in board.check_output("python3 -c %s", program).splitlines()


def test_gateway(board: Any, run_playbook: Any, asked: Any, tmp_path: Path) -> None:
    """The board is its own gateway, which reaches it on loopback."""
    (tmp_path / "hosts").write_text("[gateways]\npi-01\n")
    server = {"name": "pi-01", "address": "127.0.0.1", "host": "127.0.0.1", "port": 8080, "parallel": 1, "api_keys": []}
    variables = json.dumps({"gateway_boards": [server]})
    run = run_playbook("-i", str(tmp_path / "hosts"), "playbooks/gateway.yml", "-e", variables)
    assert run.returncode == 0, shown(run.stdout)
    assert board.service("llama-gateway").is_running
    assert asked(board, 8443) == "abcdefghijkl"


def test_forecast(board: Any, run_playbook: Any, tmp_path: Path) -> None:
    """The board is asked what it is."""
    wanted = ("-e", "fleet_forecast_ask=true", "-e", f"fleet_forecast_folder={tmp_path}")
    run = run_playbook("playbooks/plan.yml", *wanted, "--limit", "pi-01,localhost")
    assert run.returncode == 0, shown(run.stdout)
    (found,) = json.loads((tmp_path / "forecast.json").read_text())["boards"]
    (answer,) = results(run.stdout, "board_facts")
    assert (found["names"], found["asked"]) == (["pi-01"], True)
    assert found["memory_mib"] == answer.data["ansible_facts"]["pi_base_board"]["memory_mib"]


def test_inspection(run_playbook: Any, tmp_path: Path) -> None:
    """The board tells what the file is that it serves."""
    where = ("-e", "host=pi-01", "-e", "file=/var/lib/llama/current/model", "-e", f"inspect_file={tmp_path}/model.json")
    run = run_playbook("playbooks/inspect.yml", *where, "-e", "claim=rpi5-16gb-card")
    assert run.returncode == 0, shown(run.stdout)
    report = json.loads((tmp_path / "model.json").read_text())
    assert "rpi5-16gb-card" in report["follows"]
    assert report["claimed"]["differ"] == 0
