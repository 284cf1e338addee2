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

import pytest
import yaml
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header, read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import read_imatrix
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import differences, plain, predict, quantize_argv
from naming import unnamed
from runs import Background, changed, facts, failures, refused, results, shown, stats, warnings

PROJECT = Path(__file__).resolve().parents[3]


#: More than the header of the test model has.
HEADER_BYTES = 1 << 20
FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "models/alphabet"
POINTER = FOLDER / "rpi5-16gb-card.json"
RECIPES = PROJECT / "roles/gguf_quantize/files/recipes"

KEPT = {r"norm\.weight$|ffn_gate_inp|conv1d|ssm_a$|ssm_dt": "f32"}
EXPERTS = {
    r"blk\.[0-7]\.ffn_(gate|up|down)_exps\.weight$": "iq4_ks",
    r"blk\.\d+\.ffn_(gate|up|down)_exps\.weight$": "iq2_ks",
}
# What each recipe really gives; the first match decides.
TYPES = {
    "rpi5-16gb-card": {
        r"^(token_embd|output)\.weight$": "q6_K",
        r"attn_(q|k|qkv)\.weight$": "q4_K",
        r"attn_v\.weight$": "iq4_k",
        r"attn_output\.weight$": "q8_0",
        r"(attn_gate|ssm_out|ssm_alpha|ssm_beta)\.weight$": "iq2_ks",
        r"ffn_(gate|up|down)_shexp\.weight$": "q8_0",
        **EXPERTS,
        **KEPT,
    },
    "rpi5-16gb-table": {
        r"^(token_embd|output)\.weight$": "q6_K",
        r"attn_(q|k|v|qkv|gate|output)\.weight$|ssm_(out|alpha|beta)\.weight$": "q8_0",
        r"ffn_(gate|up|down)_shexp\.weight$": "q8_0",
        **EXPERTS,
        **KEPT,
    },
    "rpi5-16gb-fast": {
        r"^token_embd\.weight$|attn_output\.weight$": "iq4_ks",
        r"^output\.weight$|(attn_gate|ssm_out)\.weight$": "iq4_kss",
        r"attn_(q|qkv)\.weight$": "iq3_k",
        r"attn_(k|v)\.weight$|ffn_(gate|up|down)_shexp\.weight$": "iq5_k",
        r"ssm_(alpha|beta)\.weight$": "iq6_k",
        r"blk\.\d\.ffn_down_exps\.weight$": "iq3_k",
        r"ffn_(gate|up|down)_exps\.weight$": "iq2_kl",
        **KEPT,
    },
    "rpi5-16gb-fine": {
        r"^token_embd\.weight$": "iq4_kss",
        r"^output\.weight$|attn_(gate|output)\.weight$": "iq4_k",
        r"attn_(q|qkv)\.weight$": "iq4_ks",
        r"attn_k\.weight$|ssm_out\.weight$": "iq5_ks",
        r"attn_v\.weight$": "iq5_k",
        r"ssm_(alpha|beta)\.weight$|ffn_(gate|up|down)_shexp\.weight$": "iq6_k",
        r"ffn_(gate|up|down)_exps\.weight$": "iq3_ks",
        **KEPT,
    },
}
# Recipes with a rule for layers from the fourteenth or twentieth on; the test model has twelve.
DEEPER = ("rpi5-16gb-fast", "rpi5-16gb-fine")


def read_manifest(recipe: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{recipe}.json").read_text())
    return content


def read_model(recipe: str) -> Header:
    path = FOLDER / read_manifest(recipe)["file"]
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size)


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return read_manifest("rpi5-16gb-card")


@pytest.fixture(scope="module")
def header() -> Header:
    return read_model("rpi5-16gb-card")


def test_every_recipe_that_is_shipped_was_used() -> None:
    assert set(TYPES) == {path.stem for path in RECIPES.glob("*.yml")}
    assert set(TYPES) == {path.stem for path in FOLDER.glob("rpi5-*.json")}


@pytest.mark.parametrize("recipe", TYPES)
def test_every_tensor_has_the_type_of_the_table(recipe: str) -> None:
    header = read_model(recipe)
    assert len(header.tensors) == 222
    for tensor in header.tensors:
        wanted = next(kind for pattern, kind in TYPES[recipe].items() if re.search(pattern, tensor.name))
        assert tensor.type == wanted, tensor.name


@pytest.fixture(scope="module")
def lab(fleet: Any) -> dict[str, Path]:
    names = {
        "source": "gguf_quantize_source",
        "imatrix": "gguf_quantize_imatrix",
        "engine": "gguf_quantize_engine_root",
    }
    return {name: Path(fleet.variable("localhost", variable)) for name, variable in names.items()}


def quantized(base: str, argv: list[str], lab: dict[str, Path], result: Path, cache: Path) -> tuple[Path, int]:
    """Return a file with the header of what the engine makes, and the size of the whole.

    Some types take a minute. The header is kept in the user's cache by what it was made from: program, source, matrix.
    """
    program = (lab["engine"] / "current").resolve().name
    made_from = [program, base, *(hashlib.sha256(lab[name].read_bytes()).hexdigest() for name in ("source", "imatrix"))]
    kept = cache / "tests/quantized" / hashlib.sha256(" ".join(made_from).encode()).hexdigest()[:16]
    if not kept.exists():
        subprocess.run(argv, cwd=lab["imatrix"].parent, check=True, capture_output=True, timeout=300)
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(".new")
        with result.open("rb") as file:
            new.write_bytes(f"{result.stat().st_size}\n".encode() + file.read(HEADER_BYTES))
        new.rename(kept)
    size, _, header = kept.read_bytes().partition(b"\n")
    result.write_bytes(header)
    return result, int(size)


@pytest.mark.parametrize("base", ["Q4_K_M", "Q3_K_M", "IQ4_XS", "IQ2_KS", "IQ2_KT", "IQ3_KL", "IQ3_XS"])
def test_what_the_engine_chooses_by_itself_is_known(
    base: str, lab: dict[str, Path], tmp_path: Path, fleet: Any
) -> None:
    """Plain file types, whose every choice is the engine's own, predicted and then made."""
    with lab["source"].open("rb") as file, lab["imatrix"].open("rb") as matrix:
        source = read_header(file, lab["source"].stat().st_size)
        imatrix = read_imatrix(matrix, lab["imatrix"].stat().st_size)
    recipe = plain(base, "qwen35moe")
    result = tmp_path / "plain.gguf"
    program = lab["engine"] / "current/bin/llama-quantize"
    argv = quantize_argv(recipe, str(program), str(lab["source"]), str(result), lab["imatrix"].name, 2)
    header, size = quantized(base, argv, lab, result, Path(fleet.variable("localhost", "lab_host_cache")))
    with header.open("rb") as file:
        made = read_header(file, size)
    result.unlink()
    assert differences(predict(recipe, source, imatrix, lab["imatrix"].name), made, size) == []


def test_the_forecast_is_right_to_the_byte(run_playbook: Any, tmp_path: Path) -> None:
    """No board is reached; the verdict names the longest context for a board with too little memory."""
    arguments = (
        "playbooks/plan.yml",
        f"--extra-vars=fleet_forecast_folder={tmp_path}",
        "--extra-vars=fleet_forecast_memory_mib=1100",
    )
    run = run_playbook(*arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    forecast = json.loads((tmp_path / "forecast.json").read_text())
    for recipe in TYPES:
        assert forecast["models"][recipe]["exact"]
        assert len(forecast["models"][recipe]["warnings"]) == (recipe in DEEPER)
        assert forecast["models"][recipe]["file_bytes"] == read_manifest(recipe)["size"]
    (first, second) = forecast["boards"]
    assert (first["names"], second["names"]) == (["pi-01"], ["pi-02"])
    assert first["models"]["rpi5-16gb-card"]["fits"] is False
    longest = first["models"]["rpi5-16gb-card"]["longest_context"]
    assert longest > 0
    assert unnamed(shown(run.stdout), longest) == []
    assert "| rpi5-16gb-fast |" in (tmp_path / "forecast.md").read_text()
    again = run_playbook(*arguments)
    assert stats(again.stdout)["localhost"]["changed"] == 0, again.stdout


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
    assert os.readlink(POINTER) == f"{manifest['id']}.json"
    left = {path.name for path in FOLDER.iterdir()}
    ids = [read_manifest(recipe)["id"] for recipe in TYPES]
    assert left == {
        *(f"{recipe}.json" for recipe in TYPES),
        *(f"{model}.json" for model in ids),
        *(f"{model}.gguf" for model in ids),
    }


def test_modes(manifest: dict[str, Any]) -> None:
    assert FOLDER.stat().st_mode & 0o777 == 0o755
    assert (FOLDER / manifest["file"]).stat().st_mode & 0o777 == 0o644
    assert POINTER.stat().st_mode & 0o777 == 0o644


def start(*variables: str) -> Background:
    """Run converge.yml with other variables."""
    return Background(
        [
            "ansible-playbook",
            f"--inventory={PROJECT}/lab/inventory/containers.yml",
            *(f"--extra-vars={variable}" for variable in variables),
            str(PROJECT / "molecule/gguf_quantize/converge.yml"),
        ],
        PROJECT,
    )


def test_a_recipe_that_the_engine_does_not_follow(tmp_path: Path) -> None:
    """One that is wrong about the engine: a warning before, an error that names the tensors, and the link stays."""
    recipe = yaml.safe_load((RECIPES / "rpi5-16gb-card.yml").read_text())
    recipe["engine"][0]["type"] = "iq5_k"
    recipe["rules"].append({"match": r"attn_gate\.weight", "type": "iq2_k", "reason": "so that the ID differs"})
    (tmp_path / "rpi5-16gb-card.yml").write_text(yaml.safe_dump(recipe))
    before = os.readlink(POINTER)
    run = start(f"only={tmp_path}/rpi5-16gb-card.yml")
    said = run.ended()
    assert run.returncode != 0
    doubts = ("engine[0]", "blk.*.attn_v.weight", 3, "iq5_k", "iq4_k")
    assert any(not unnamed(warning, *doubts) for warning in warnings(said)), said
    assert unnamed(refused(said), "blk.3.attn_v.weight", "iq4_k", "iq5_k") == []
    assert os.readlink(POINTER) == before
    assert {path.name for path in FOLDER.glob("*.gguf*")} == {read_manifest(name)["file"] for name in TYPES}


def test_killed_while_it_quantizes(tmp_path: Path) -> None:
    """An unfinished file has no model's name; meanwhile nothing else is quantized; the next run makes it again."""
    recipe = yaml.safe_load((RECIPES / "rpi5-16gb-card.yml").read_text())
    recipe["rules"][0]["type"] = "q6_K"
    (tmp_path / "other.yml").write_text(yaml.safe_dump(recipe))
    variable = f"only={tmp_path}/other.yml"
    job = FOLDER.parent / ".jobs/quantize"
    # Stopped at once, so that it surely is in the middle, however fast this machine is.
    (job / "job.json").unlink()
    run = start(variable, "gguf_quantize_threads=1")
    for _ in range(12000):
        if (job / "job.json").exists() and list(FOLDER.glob("*.gguf.part")):
            break
        assert run.poll() is None, run.ended()
        time.sleep(0.01)
    group = json.loads((job / "job.json").read_text())["pid"]
    os.killpg(group, signal.SIGSTOP)
    second = start(variable, "gguf_quantize_threads=2")
    (busy,) = failures(second.ended()).values()
    assert second.returncode != 0
    assert (busy.action, busy.data["code"]) == ("long_command", "busy")
    assert unnamed(busy.data["msg"], group, job) == []
    os.killpg(group, signal.SIGCONT)
    os.killpg(group, signal.SIGKILL)
    (killed,) = failures(run.ended()).values()
    assert run.returncode != 0
    assert (killed.action, killed.data["code"]) == ("long_command", "killed")
    assert {path.name for path in FOLDER.glob("*.gguf")} == {read_manifest(name)["file"] for name in TYPES}
    assert not (FOLDER / "other.json").exists()
    assert len(list(FOLDER.glob("*.gguf.part"))) == 1

    shown = start(variable, "gguf_quantize_threads=1")
    again = shown.ended()
    assert shown.returncode == 0, again
    made = json.loads((FOLDER / "other.json").read_text())
    assert made["types"]["blk.0.ffn_up_shexp.weight"] == "q6_K"
    assert made["sha256"] == hashlib.sha256((FOLDER / made["file"]).read_bytes()).hexdigest()
    assert not list(FOLDER.glob("*.part"))


def test_a_second_run_changes_nothing_and_its_plan_says_so() -> None:
    run = start("only=rpi5-16gb-card")
    output = run.ended()
    assert run.returncode == 0, output
    assert stats(output)["localhost"]["changed"] == 0
    manifest = read_manifest("rpi5-16gb-card")
    plan = facts(output, "localhost")["gguf_quantize_plan"]
    assert (plan["change"], plan["id"], plan["name"], plan["recipe"]) == (
        False, manifest["id"], "alphabet", "rpi5-16gb-card",
    )  # fmt: skip
    assert plan["manifest"]["sha256"] == manifest["sha256"]
    assert plan["forecast"]["file_bytes"] == manifest["size"]
    assert not results(output, "gguf_model")


def test_a_model_of_an_earlier_version_is_not_made_again() -> None:
    """Its manifest calls the ID key; the link to it is missing, and comes back."""
    manifest = read_manifest("rpi5-16gb-card")
    path = FOLDER / f"{manifest['id']}.json"
    text = path.read_text()
    model = (FOLDER / manifest["file"]).stat()
    path.write_text(json.dumps({("key" if name == "id" else name): value for name, value in manifest.items()}))
    POINTER.unlink()
    run = start("only=rpi5-16gb-card")
    output = run.ended()
    path.write_text(text)
    assert run.returncode == 0, output
    assert not [result for result in results(output, "long_command") if result.outcome == "ok"]
    assert os.readlink(POINTER) == path.name
    assert (FOLDER / manifest["file"]).stat().st_mtime_ns == model.st_mtime_ns


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        (
            ("only=rpi5-16gb-card", "gguf_quantize_connections=99", "gguf_quantize_threads=-1"),
            ("gguf_quantize_connections", 99, "gguf_quantize_threads", -1),
        ),
        (("only=nonsense",), ("gguf_quantize_recipe", "nonsense", "rpi5-16gb-card")),
        (
            ("only=rpi5-16gb-card", "gguf_quantize_source=/nowhere/model.gguf"),
            ("gguf_quantize_source", "/nowhere/model.gguf"),
        ),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(variables: tuple[str, ...], names: tuple[Any, ...]) -> None:
    run = start(*variables)
    output = run.ended()
    assert run.returncode != 0
    assert unnamed(refused(output), "localhost", *names) == []
    assert changed(output) == 0
    assert [result for result in results(output, "long_command") if result.outcome != "skipped"] == []
