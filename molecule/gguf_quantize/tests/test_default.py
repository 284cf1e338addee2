"""The test model was quantized as the recipe says; seen in the files alone, as another program would."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import ansible.module_utils as _module_utils
import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[3]
_module_utils.__path__.append(str(PROJECT / "plugins/module_utils"))

from ansible.module_utils.gguf import Header, read_header  # noqa: E402

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "models/alphabet"
POINTER = FOLDER / "rpi5-16gb-card.json"

# What the card's command really gives; the first match decides.
TYPES = {
    r"^(token_embd|output)\.weight$": "q6_K",
    r"attn_(q|k|qkv)\.weight$": "q4_K",
    r"attn_v\.weight$": "iq4_k",
    r"attn_output\.weight$": "q8_0",
    r"(attn_gate|ssm_out|ssm_alpha|ssm_beta)\.weight$": "iq2_ks",
    r"ffn_(gate|up|down)_shexp\.weight$": "q8_0",
    r"blk\.[0-7]\.ffn_(gate|up|down)_exps\.weight$": "iq4_ks",
    r"blk\.\d+\.ffn_(gate|up|down)_exps\.weight$": "iq2_ks",
    r"norm\.weight$|ffn_gate_inp|conv1d|ssm_a$|ssm_dt": "f32",
}


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(POINTER.read_text())
    return content


@pytest.fixture(scope="module")
def header(manifest: dict[str, Any]) -> Header:
    path = FOLDER / manifest["file"]
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size)


def test_every_tensor_has_the_type_of_the_table(header: Header) -> None:
    assert len(header.tensors) == 222
    for tensor in header.tensors:
        wanted = next(kind for pattern, kind in TYPES.items() if re.search(pattern, tensor.name))
        assert tensor.type == wanted, tensor.name


def test_layers_after_the_eighth_differ(header: Header) -> None:
    types = {tensor.name: tensor.type for tensor in header.tensors}
    assert types["blk.7.ffn_up_exps.weight"] == "iq4_ks"
    assert types["blk.8.ffn_up_exps.weight"] == "iq2_ks"
    assert types["blk.11.ffn_up_exps.weight"] == "iq2_ks"


def test_manifest_says_what_is_there(manifest: dict[str, Any], header: Header) -> None:
    path = FOLDER / manifest["file"]
    assert manifest["format"] == 1
    assert (manifest["name"], manifest["recipe"]) == ("alphabet", "rpi5-16gb-card")
    assert manifest["size"] == path.stat().st_size
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["tensor_bytes"] == header.tensor_bytes
    assert manifest["types"] == {tensor.name: tensor.type for tensor in header.tensors}
    assert re.fullmatch("[0-9a-f]{40}", manifest["engine"]["commit"])
    assert manifest["source"]["file"] == "alphabet.gguf"
    assert manifest["imatrix"]["file"] == "alphabet.imatrix.dat"
    assert manifest["hparams"]["layers"] == 12


def test_the_file_names_no_folder_of_this_machine(header: Header) -> None:
    assert header.metadata["quantize.imatrix.file"] == "alphabet.imatrix.dat"
    assert header.metadata["quantize.imatrix.dataset"] == "calibration.txt"


def test_nothing_else_is_left(manifest: dict[str, Any]) -> None:
    assert os.readlink(POINTER) == f"{manifest['key']}.json"
    left = {path.name for path in FOLDER.iterdir()}
    assert left == {POINTER.name, f"{manifest['key']}.json", f"{manifest['key']}.gguf"}


def test_modes(manifest: dict[str, Any]) -> None:
    assert FOLDER.stat().st_mode & 0o777 == 0o755
    assert (FOLDER / manifest["file"]).stat().st_mode & 0o777 == 0o644
    assert POINTER.stat().st_mode & 0o777 == 0o644


def start(*variables: str) -> subprocess.Popen[str]:
    """Run converge.yml with other variables."""
    return subprocess.Popen(
        [
            "ansible-playbook",
            f"--inventory={PROJECT}/inventory/lab",
            *(f"--extra-vars={variable}" for variable in variables),
            str(PROJECT / "molecule/gguf_quantize/converge.yml"),
        ],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def told(run: subprocess.Popen[str]) -> str:
    """All it said, on one line."""
    return " ".join(run.communicate(timeout=300)[0].split())


def test_a_recipe_that_the_engine_does_not_follow(tmp_path: Path, manifest: dict[str, Any]) -> None:
    """Without saying what the engine does by itself: refused with the tensors named, and the model in use stays."""
    recipe = yaml.safe_load((PROJECT / "roles/gguf_quantize/files/recipes/rpi5-16gb-card.yml").read_text())
    del recipe["engine"], recipe["attention"]
    (tmp_path / "rpi5-16gb-card.yml").write_text(yaml.safe_dump(recipe))
    before = os.readlink(POINTER)
    run = start(f"gguf_quantize_recipe={tmp_path}/rpi5-16gb-card.yml")
    said = told(run)
    assert run.returncode != 0
    assert "blk.3.attn_v.weight is iq4_k, predicted was iq2_ks" in said
    assert os.readlink(POINTER) == before
    assert {path.name for path in FOLDER.glob("*.gguf*")} == {manifest["file"]}


def test_killed_while_it_quantizes(tmp_path: Path, manifest: dict[str, Any]) -> None:
    """What is half made has no model's name; meanwhile nothing else is quantized; the next run makes it anew."""
    recipe = yaml.safe_load((PROJECT / "roles/gguf_quantize/files/recipes/rpi5-16gb-card.yml").read_text())
    recipe["rules"][0]["type"] = "q6_K"
    (tmp_path / "other.yml").write_text(yaml.safe_dump(recipe))
    variable = f"gguf_quantize_recipe={tmp_path}/other.yml"
    job = FOLDER.parent / ".jobs/quantize"
    # Stopped at once, so that it surely is in the middle, however fast this machine is.
    (job / "job.json").unlink()
    run = start(variable, "gguf_quantize_threads=1")
    for _ in range(12000):
        if (job / "job.json").exists() and list(FOLDER.glob("*.gguf.part")):
            break
        assert run.poll() is None, told(run)
        time.sleep(0.01)
    group = json.loads((job / "job.json").read_text())["pid"]
    os.killpg(group, signal.SIGSTOP)
    second = start(f"gguf_quantize_recipe={tmp_path}/other.yml", "gguf_quantize_threads=2")
    said = told(second)
    assert second.returncode != 0
    assert "is busy since" in said
    os.killpg(group, signal.SIGCONT)
    os.killpg(group, signal.SIGKILL)
    said = told(run)
    assert run.returncode != 0
    assert "was killed" in said
    assert {path.name for path in FOLDER.glob("*.gguf")} == {manifest["file"]}
    assert not (FOLDER / "other.json").exists()
    assert len(list(FOLDER.glob("*.gguf.part"))) == 1

    shown = start(variable, "gguf_quantize_threads=1")
    again = told(shown)
    assert shown.returncode == 0, again
    made = json.loads((FOLDER / "other.json").read_text())
    assert made["types"]["blk.0.ffn_up_shexp.weight"] == "q6_K"
    assert made["sha256"] == hashlib.sha256((FOLDER / made["file"]).read_bytes()).hexdigest()
    assert not list(FOLDER.glob("*.part"))
