"""playbooks/evaluate.yml on a quantizer whose engine is a stand-in: what it measures, reports, and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from evaluation_fixture import COMPARED, IMATRIX, World, matrix_bytes
from naming import unnamed
from runs import JSONL, changed, facts, refused, results, stats

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = """
quantizers:
  hosts:
    localhost:
      ansible_connection: local
"""


class Quantizer(World):
    """The stand-in, and the playbook on it."""

    def play(self, *arguments: str, **variables: Any) -> tuple[int, str]:
        """Return code and output of a run."""
        (self.folder / "hosts.yml").write_text(INVENTORY)
        settings = {
            "ansible_python_interpreter": sys.executable,
            "gguf_evaluate_name": "m",
            "gguf_evaluate_root": str(self.root),
            "gguf_evaluate_source": str(self.source),
            "gguf_evaluate_engine_root": str(self.folder / "engine"),
            "gguf_evaluate_context": 32,
            "gguf_evaluate_chunks": 8,
            "gguf_evaluate_folder": str(self.folder / "report"),
            "gguf_evaluate_imatrix_context": 32,
            "text": str(self.text),
            **variables,
        }
        command = ["ansible-playbook", f"--inventory={self.folder}/hosts.yml", f"--extra-vars={json.dumps(settings)}"]
        run = subprocess.run(
            [*command, *arguments, str(ROOT / "playbooks/evaluate.yml")],
            cwd=ROOT,
            env={**os.environ, **JSONL, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return run.returncode, run.stdout + run.stderr


@pytest.fixture
def quantizer(tmp_path: Path) -> Quantizer:
    return Quantizer(tmp_path)


def test_a_run_and_the_next_ones(quantizer: Quantizer) -> None:
    code, output = quantizer.play("--check")
    assert code == 0, output
    assert facts(output, "localhost")["gguf_evaluate_plan"]["change"] is True
    assert not (quantizer.root / ".evaluations").exists()
    code, output = quantizer.play(recipes="one,two")
    assert code == 0, output
    assert len([result for result in results(output, "long_command") if result.outcome == "ok"]) == 3
    found = facts(output, "localhost")
    assert found["gguf_evaluate_plan"]["change"] is False
    result = found["gguf_evaluate_result"]
    assert [model["recipes"] for model in result["models"]] == [["one"], ["two"]]
    report = quantizer.folder / "report" / f"m-{result['id']}"
    assert json.loads(report.with_suffix(".json").read_text())["models"] == result["models"]
    assert unnamed(report.with_suffix(".md").read_text(), "one", "two", "0.04568") == []
    code, output = quantizer.play(recipes=["one", "two"])
    assert (code, changed(output)) == (0, 0), output
    code, output = quantizer.play()
    assert code == 0, output
    assert len([result for result in results(output, "long_command") if result.outcome == "ok"]) == 1


def test_what_is_wrong_is_named(quantizer: Quantizer) -> None:
    code, output = quantizer.play(text="/nowhere/text.txt")
    assert code != 0
    assert unnamed(refused(output), "localhost", "gguf_evaluate_text", "/nowhere/text.txt") == []
    assert changed(output) == 0
    quantizer.mode(size=1000)
    code, output = quantizer.play()
    assert code != 0
    assert unnamed(refused(output), "localhost", "gguf_evaluate_root", 1000) == []
    assert quantizer.logits() == []
    quantizer.mode(compared=COMPARED.replace("0.045678", "nan"))
    code, output = quantizer.play()
    assert code != 0
    assert unnamed(refused(output), "localhost", "gguf_evaluate_recipes", "nan") == []
    assert quantizer.logits() == ["logits.bin", "logits.json"]
    assert stats(output)["localhost"]["failures"] == 1


def test_an_importance_matrix(quantizer: Quantizer) -> None:
    program = quantizer.program.with_name("llama-imatrix")
    program.write_text(IMATRIX)
    program.chmod(0o755)
    seen = [float(column) for column in range(1, 257)]
    up, down = "blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight"
    program.with_name("matrix").write_bytes(matrix_bytes({up: [*seen * 3, *[3.0] * 256], down: seen * 4}, 3))
    code, output = quantizer.play(imatrix=True)
    assert code == 0, output
    plan = facts(output, "localhost")["gguf_evaluate_imatrix_plan"]
    assert Path(plan["path"]).is_file()
    assert plan["manifest"]["coverage"]["experts"]["ffn_up_exps"] == {"experts": 4, "without_data": 1}
    code, output = quantizer.play(imatrix=True)
    assert (code, changed(output)) == (0, 0), output
    code, output = quantizer.play(imatrix=True, text="/nowhere/text.txt")
    assert code != 0
    assert unnamed(refused(output), "gguf_evaluate_imatrix_text", "/nowhere/text.txt") == []
