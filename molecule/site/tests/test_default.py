"""Both boards serve (tests/verify), each with its own options; and make verify reports that."""

from __future__ import annotations

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import changed, refused, results

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
    shown = {
        fleet.host(name).check_output("readlink /opt/ik_llama/current /var/lib/llama/models/alphabet/current.gguf")
        for name in PORTS
    }
    assert len(shown) == 1


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


# One emulated board is enough to be refused.
ALONE = ("--limit", "pi-01:localhost")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("-e", "gguf_quantize_recipe=nonsense"), ("gguf_quantize_recipe", "nonsense", "rpi5-16gb-card")),
        (
            ("-e", "gguf_quantize_source=/nowhere/model.gguf"),
            ("localhost", "gguf_quantize_source", "/nowhere/model.gguf"),
        ),
        (("-e", "llama_server_port=many", *ALONE), ("pi-01", "llama_server_port", "host_vars/pi-01.yml")),
        (
            ("-e", "llama_server_context=900000000", *ALONE),
            ("pi-01", "llama_server_context", 900000000, "llama_server_memory_reserve_mib"),
        ),
        (
            ("-e", '{"pi_base_architectures": ["riscv64"]}', *ALONE),
            ("pi-01", "pi_base_architectures", "riscv64", "aarch64"),
        ),
        (
            ("-e", "llama_server_host=0.0.0.0", *ALONE),
            ("pi-01", "llama_server_host", "0.0.0.0", "llama_server_api_keys"),
        ),
        (
            ("-e", '{"ansible_port": 9}', "--limit", "pi-02"),
            ("pi-02", "127.0.0.1", 9, "--limit '!pi-02'"),
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_changed(
    run_playbook: Any, arguments: tuple[str, ...], names: tuple[Any, ...]
) -> None:
    run = run_playbook("site.yml", *arguments)
    assert run.returncode != 0
    assert unnamed(refused(run.stdout), *names) == []
    assert changed(run.stdout) == 0
    assert [result for result in results(run.stdout, "long_command") if result.outcome != "skipped"] == []
