"""Both boards serve (tests/verify), each with the options of its own; and make verify says so."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[3]
PORTS = {"pi-01": 8080, "pi-02": 8090}


def test_overrides_of_one_board_are_seen_there_and_not_on_the_other(fleet: Any, process: Any) -> None:
    first, second = (" ".join(process(fleet.host(name))["words"]) for name in PORTS)
    for part in ("--port 8090", "--threads 2", "--ctx-size 8192"):
        assert part in second
        assert part not in first
    for part in ("--port 8080", "--threads 3", "--ctx-size 16384"):
        assert part in first


def test_both_have_the_same_engine_and_model(fleet: Any) -> None:
    told = {
        fleet.host(name).check_output("readlink /opt/ik_llama/current /var/lib/llama/models/alphabet/current.gguf")
        for name in PORTS
    }
    assert len(told) == 1


def test_make_verify_says_what_holds_and_what_does_not(fleet: Any) -> None:
    fleet.host("pi-02").check_output("chmod g+w /var/lib/llama/current/deployment.json")
    run = subprocess.run(
        ["make", "--no-print-directory", "verify", "INVENTORY=lab/inventory/containers.yml", "LIMIT=pi-02"],
        cwd=PROJECT,
        # The others are asserted beside this file.
        env={**os.environ, "PYTEST_ADDOPTS": "-k 'service or owners'"},
        capture_output=True,
        text=True,
        check=False,
    )
    fleet.host("pi-02").check_output("chmod g-w /var/lib/llama/current/deployment.json")
    said = run.stdout.splitlines()
    assert run.returncode != 0
    assert "pi-02        holds            the service runs, and starts with the board" in said
    failed = [line for line in said if " FAILS " in line]
    assert len(failed) == 1
    assert re.search(r"/var/lib/llama/deployments/\w{12}/deployment\.json has mode 664$", failed[0])


def test_an_inventory_without_a_quantizer_is_refused(run_playbook: Any, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts"
    inventory.write_text("[pis]\nlonely ansible_host=127.0.0.1\n")
    run = run_playbook("site.yml", inventory=inventory)
    assert run.returncode != 0
    assert "The inventory has no host in the group 'quantizers'" in " ".join(run.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-e", "gguf_quantize_recipe=nonsense"), ("gguf_quantize_recipe", "nonsense", "rpi5-16gb-card")),
        (
            ("-e", "gguf_quantize_source=/nowhere/model.gguf"),
            ("localhost", "gguf_quantize_source", "/nowhere/model.gguf"),
        ),
        (("-e", "llama_server_port=many"), ("pi-01", "llama_server_port", "host_vars/pi-01.yml")),
        (("-e", "llama_server_context=900000000"), ("pi-01", "llama_server_context 900000000", "this board has")),
        (("-e", '{"pi_base_architectures": ["riscv64"]}'), ("pi-01 cannot serve", "not riscv64")),
        (("-e", "llama_server_host=0.0.0.0"), ("pi-01", "llama_server_api_keys is empty")),
        (
            ("-e", '{"ansible_port": 9}', "--limit", "pi-02"),
            ("pi-02 cannot be reached at 127.0.0.1 port 9", "--limit '!pi-02'"),
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_changed(
    run_playbook: Any, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    run = run_playbook("site.yml", *arguments)
    said = " ".join(run.stdout.split())
    assert run.returncode != 0
    for word in words:
        assert word in said
    assert "changed=0" in said
    assert "Compile the engine" not in said
