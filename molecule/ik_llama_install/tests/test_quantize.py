"""An ARM64 board quantizes with the engine that was installed on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runs import facts, shown


def test_a_board_can_be_the_quantizer(board: Any, run_playbook: Any) -> None:
    run = run_playbook("molecule/ik_llama_install/quantize.yml")
    assert run.returncode == 0, shown(run.stdout)
    manifest = json.loads(board.check_output("cat /srv/models/alphabet/q8_0.json"))
    # The recipe's pointer names the manifest, next to the model.
    pointer = board.check_output("readlink -f /srv/models/alphabet/q8_0.json")
    assert board.file(pointer.replace(".json", ".gguf")).size == manifest["size"]


def test_what_a_board_made_can_be_measured_and_published_there(board: Any, run_playbook: Any, tmp_path: Path) -> None:
    run = run_playbook("molecule/ik_llama_install/publish.yml", "-e", f"gguf_evaluate_folder={tmp_path}")
    assert run.returncode == 0, shown(run.stdout)
    (model,) = facts(run.stdout, "pi-01")["gguf_evaluate_result"]["models"]
    assert 0 < model["figures"]["same_top_percent"]["value"] <= 100
    board.check_output("cd /srv/published/alphabet-q8_0/ && sha256sum --check --quiet SHA256SUMS")
    card = board.file("/srv/published/alphabet-q8_0/README.md").content_string
    assert "apache-2.0" in card
    assert f"{model['figures']['kl_divergence']['value']:.5f}" in card
