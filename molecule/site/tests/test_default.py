"""Both boards serve (tests/verify), each with its own options; and make verify reports that."""

from __future__ import annotations

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from naming import unnamed
from runs import changed, refused

PROJECT = Path(__file__).resolve().parents[3]
PORTS = {"pi-01": 8080, "pi-02": 8090}


def test_overrides_of_one_board_are_seen_there_and_not_on_the_other(fleet: Any, process: Any) -> None:
    first, second = (" ".join(process(fleet.host(name))["words"]) for name in PORTS)
    for part in ("--port 8090", "--threads 2", "--ctx-size 8192"):
        assert part in second
        assert part not in first
    for part in ("--port 8080", "--threads 3", "--threads-batch 4", "--ctx-size 16384"):
        assert part in first


def test_both_have_the_same_engine_and_model(fleet: Any) -> None:
    shown = {
        fleet.host(name).check_output("readlink /opt/ik_llama/current /var/lib/llama/models/alphabet/current.gguf")
        for name in PORTS
    }
    assert len(shown) == 1


def test_the_engine_serves_on_debian_13_and_on_debian_12(fleet: Any) -> None:
    codenames = {name: fleet.host(name).system_info.codename for name in PORTS}
    assert codenames == {"pi-01": "trixie", "pi-02": "bookworm"}


def test_make_verify_says_what_holds_and_what_does_not(fleet: Any, tmp_path: Path) -> None:
    fleet.host("pi-02").check_output("chmod g+w /var/lib/llama/current/deployment.json")
    run = subprocess.run(
        ["make", "--no-print-directory", "verify", "INVENTORY=lab/inventory/containers.yml", "LIMIT=pi-02"],
        cwd=PROJECT,
        # The others are asserted with this file.
        env={**os.environ, "PYTEST_ADDOPTS": f"-k 'service or owners' --junitxml={tmp_path}/verify.xml"},
        capture_output=True,
        text=True,
        check=False,
    )
    fleet.host("pi-02").check_output("chmod g-w /var/lib/llama/current/deployment.json")
    assert run.returncode != 0
    cases = {str(case.get("name")): case for case in ET.parse(tmp_path / "verify.xml").iter("testcase")}
    failed = {name: case for name, case in cases.items() if case.find("failure") is not None}
    assert set(failed) == {"test_owners[pi-02]"}
    assert "test_service[pi-02]" in cases
    # What is printed is a line for the board and each of them, the one that fails with the file and its mode.
    lines = [line for line in run.stdout.splitlines() if line.startswith("pi-02")]
    assert len(lines) == len(cases)
    shown = [
        line for line in lines if re.search(r"/var/lib/llama/deployments/\w{12}/deployment\.json\b.*\b664\b", line)
    ]
    assert len(shown) == 1


def test_an_inventory_without_a_quantizer_is_refused(run_playbook: Any, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts"
    inventory.write_text("[pis]\nlonely ansible_host=127.0.0.1\n")
    run = run_playbook("site.yml", inventory=inventory)
    assert run.returncode != 0
    assert unnamed(refused(run.stdout), "quantizers") == []


def test_a_model_that_a_hazard_concerns_is_refused_where_that_is_not_allowed(fleet: Any, run_playbook: Any) -> None:
    board = fleet.host("pi-01")
    pid = board.check_output("systemctl show -P MainPID llama-server")
    limited = ("--limit", "pi-01:localhost")
    run = run_playbook("playbooks/serve.yml", "-e", "llama_server_allow_hazards=none", *limited)
    assert run.returncode == 2
    assert unnamed(refused(run.stdout), "pi-01", "llama_server_allow_hazards", "aarch64-fp16-scales", "q8_0") == []
    assert changed(run.stdout) == 0
    assert board.check_output("systemctl show -P MainPID llama-server") == pid
