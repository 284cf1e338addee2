"""What a file is, from its header: over HTTP, in the true shapes of the model, and what is no model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.filter.inspection import inspected_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import write_stamp
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import remote
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import (
    ForecastError,
    make_forecast,
    make_forecasts,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError, Tensor, file_bytes, tensor_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.inspection import inspect
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import RecipeError, load_recipe, predict_type
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import stamp_path
from ansible_collections.ik_llama.pi.plugins.plugin_utils.inspection import CONTEXTS, as_text, kinds_of_boards
from ansible_collections.ik_llama.pi.plugins.plugin_utils.recipe_score import with_estimates
from gguf_files import QWEN35_METADATA, header_bytes, qwen35_tensors
from hub_server import Server
from naming import unnamed

ROLES = Path(__file__).resolve().parents[2] / "roles"
RECIPES = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((ROLES / "gguf_quantize/files/recipes").glob("*.yml"))
}
HAZARDS = yaml.safe_load((ROLES / "llama_server/files/hazards.yml").read_text())
#: As many bytes as a vocabulary of 248320, in fewer strings, so that reading it takes less time.
WORDS = {"tokenizer.ggml.tokens": ["a" * 400] * 30000}
Q4_K_M = 21_114_563_072


def write(path: Path, tensors: list[Tensor], metadata: dict[str, Any]) -> None:
    """A model whose weights are a hole."""
    header = header_bytes(metadata, tensors)
    path.write_bytes(header)
    os.truncate(path, file_bytes(len(header), [tensor_bytes(item.type, item.shape) for item in tensors]))


def by_recipe(name: str) -> list[Tensor]:
    recipe = load_recipe(RECIPES[name])
    return [Tensor(item.name, item.shape, predict_type(recipe, item)) for item in qwen35_tensors()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("served")
    for name in RECIPES:
        write(folder / f"{name}.gguf", by_recipe(name), {**QWEN35_METADATA, **WORDS})
    write(
        folder / "one-00001-of-00002.gguf", qwen35_tensors()[:400], {**QWEN35_METADATA, "split.no": 0, "split.count": 2}
    )
    write(folder / "one-00002-of-00002.gguf", qwen35_tensors()[400:], {"split.no": 1, "split.count": 2})
    return folder


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server(folder)
    yield server
    server.close()


def look_at(location: str, claim: str = "", hub: str = "https://hub.test", **options: Any) -> dict[str, Any]:
    return inspect(location, RECIPES, claim, None, hub, **options)


def test_the_card_s_command_is_not_the_card_s_table(server: Server) -> None:
    found = look_at("hf://open/model@main/rpi5-16gb-card.gguf", "rpi5-16gb-table", server.hub)
    assert found["follows"] == ["rpi5-16gb-card"]
    assert (found["nearest"]["name"], found["nearest"]["differ"]) == ("rpi5-16gb-card", 0)
    assert (found["claimed"]["tensors"], found["claimed"]["differ"]) == (733, 180)
    departures = {item["group"]: (item["is"], item["by_recipe"]) for item in found["claimed"]["departures"]}
    assert departures["blk.*.attn_qkv.weight"] == ("q4_K", "q8_0")
    assert departures["blk.*.ssm_out.weight"] == ("iq2_ks", "q8_0")
    assert "blk.*.attn_output.weight" not in departures
    assert found["forecast"]["tensor_bytes"] == 12_218_867_968
    assert found["bits"] == 2.82
    assert found["sha256"] == [
        {
            "name": "rpi5-16gb-card.gguf",
            "sha256": server.sha256(server.folder / "rpi5-16gb-card.gguf"),
            "by": "repository",
        }
    ]
    sent = sum(entry["sent"] for entry in server.log)
    assert sent == found["transferred"] < 20 << 20


def test_license_and_base_models_are_those_of_the_header(tmp_path: Path) -> None:
    said = {
        "general.license": "apache-2.0",
        "general.base_model.count": 2,
        "general.base_model.0.repo_url": "https://huggingface.co/Qwen/Qwen3.5-35B-A3B",
        "general.base_model.1.name": "without an address",
    }
    write(tmp_path / "model.gguf", by_recipe("rpi5-16gb-card"), {**QWEN35_METADATA, **said})
    found = look_at(str(tmp_path / "model.gguf"))
    assert found["license"] == "apache-2.0"
    assert found["base_models"] == ["https://huggingface.co/Qwen/Qwen3.5-35B-A3B"]


@pytest.mark.parametrize("name", list(RECIPES))
def test_each_recipe_is_recognized(folder: Path, name: str) -> None:
    assert look_at(str(folder / f"{name}.gguf"))["follows"] == [name]


def test_plain_file_types_are_recognized(tmp_path: Path) -> None:
    types = make_forecasts(str(written(tmp_path, "q8_0")), {}, ["Q4_K_M"], "")[1]["Q4_K_M"]["types"]
    made = [Tensor(item.name, item.shape, types[item.name]) for item in qwen35_tensors()]
    write(tmp_path / "q4_k_m.gguf", made, QWEN35_METADATA)
    found = look_at(str(tmp_path / "q4_k_m.gguf"))
    assert (found["follows"], found["forecast"]["tensor_bytes"]) == (["Q4_K_M"], Q4_K_M)
    # The engine chooses otherwise with a matrix; the file says that it had one.
    types = make_forecasts(str(written(tmp_path, "q8_0")), {}, ["IQ4_XS"], "matrix.dat")[1]["IQ4_XS"]["types"]
    made = [Tensor(item.name, item.shape, types[item.name]) for item in qwen35_tensors()]
    write(tmp_path / "iq4_xs.gguf", made, {**QWEN35_METADATA, "quantize.imatrix.entries_count": 510})
    assert look_at(str(tmp_path / "iq4_xs.gguf"))["follows"] == ["IQ4_XS"]


def written(folder: Path, kind: str) -> Path:
    write(folder / f"{kind}.gguf", qwen35_tensors(kind), QWEN35_METADATA)
    return folder / f"{kind}.gguf"


def test_a_departure_is_named_and_what_is_far_is_not_near(tmp_path: Path) -> None:
    changed = [
        Tensor(item.name, item.shape, "q5_K" if item.name == "output.weight" else item.type)
        for item in by_recipe("rpi5-16gb-fast")
    ]
    write(tmp_path / "m.gguf", changed, QWEN35_METADATA)
    found = look_at(str(tmp_path / "m.gguf"))
    assert found["follows"] == []
    assert found["nearest"]["name"] == "rpi5-16gb-fast"
    (departure,) = found["nearest"]["departures"]
    assert departure == {"group": "output.weight", "is": "q5_K", "by_recipe": "iq4_kss", "tensors": 1}
    write(tmp_path / "far.gguf", qwen35_tensors("i2_s"), QWEN35_METADATA)
    assert look_at(str(tmp_path / "far.gguf"))["nearest"] == {}


def test_a_split_file_is_one(server: Server) -> None:
    found = look_at(f"{server.hub}/ranges/one-00001-of-00002.gguf")
    assert found["follows"] == ["Q8_0"]
    assert [(part["name"], part["sha256"]) for part in found["sha256"]] == [
        ("one-00001-of-00002.gguf", ""), ("one-00002-of-00002.gguf", ""),
    ]  # fmt: skip


def test_a_sha256_that_was_noted_counts_as_long_as_the_file_is_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, "q8_0")
    assert look_at(str(path))["sha256"] == [{"name": "q8_0.gguf", "sha256": "", "by": ""}]
    stamp_path(tmp_path, path).parent.mkdir()
    write_stamp(path, stamp_path(tmp_path, path), "1" * 64)
    assert look_at(str(path), root=tmp_path)["sha256"][0] == {"name": "q8_0.gguf", "sha256": "1" * 64, "by": "stamp"}
    write_stamp(path, path.with_name("q8_0.gguf.stamp"), "2" * 64)
    assert look_at(str(path))["sha256"][0]["sha256"] == "2" * 64
    os.utime(path)
    assert look_at(str(path), root=tmp_path)["sha256"][0]["sha256"] == ""


WHOLE = [Tensor("token_embd.weight", (256, 8), "f16")]
LORA = [Tensor("blk.0.attn_q.weight.lora_a", (256, 8), "f16")]
VOCABULARY = {"general.architecture": "qwen35moe", "tokenizer.ggml.tokens": ["a", "b"], "qwen35moe.expert_count": 256}
#: Files that are no model, as converters write them: keys, tensors, and the word for it.
REFUSED: dict[str, tuple[dict[str, Any], list[Tensor]]] = {
    "vocabulary": (VOCABULARY, []),
    "adapter": ({"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}, LORA),
    "old adapter": ({"general.architecture": "llama", "adapter.type": "lora"}, LORA),
    "control vector adapter": ({"general.architecture": "controlvector"}, [Tensor("direction.1", (256,), "f32")]),
    "mmproj": (
        {"general.architecture": "clip", "general.type": "mmproj"},
        [Tensor("v.patch_embd.weight", (256,), "f32")],
    ),
    "old mmproj": (
        {"general.architecture": "clip", "clip.has_vision_encoder": True},
        [Tensor("mm.0.weight", (256,), "f32")],
    ),
    "imatrix": ({"general.type": "imatrix", "imatrix.chunk_count": 4}, [Tensor("a.in_sum2", (256,), "f32")]),
    "foreign": ({"general.architecture": "flux"}, [Tensor("double_blocks.0.weight", (256, 8), "f16")]),
    "nameless foreign": ({"general.name": "x"}, WHOLE),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_is_no_model_is_refused_with_its_reason(what: str, tmp_path: Path) -> None:
    metadata, tensors = REFUSED[what]
    write(tmp_path / "m.gguf", tensors, metadata)
    with pytest.raises(GGUFError) as caught:
        look_at(str(tmp_path / "m.gguf"))
    assert caught.value.code == what.rpartition(" ")[2]
    assert "\n" not in str(caught.value)
    for forecast in (
        lambda path: make_forecasts(path, RECIPES, ["Q4_K_M"], ""),
        lambda path: make_forecast(path, RECIPES["rpi5-16gb-card"], None),
    ):
        with pytest.raises(ForecastError):
            forecast(str(tmp_path / "m.gguf"))


F16, TYPE_99 = b"\x01" + bytes(11), b"\x63" + bytes(11)  # type and offset of the one tensor
OF_TYPE_99 = header_bytes({"general.architecture": "x"}, WHOLE).replace(F16, TYPE_99)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "truncated"),
        (b"<!DOCTYPE html><title>404</title>", "magic"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"1" * 64, "magic"),
        (header_bytes(VOCABULARY, WHOLE)[:60], "truncated"),
        (header_bytes(QWEN35_METADATA, qwen35_tensors()), "cut-off"),
        (OF_TYPE_99, "tensor-type"),
    ],
)  # fmt: skip
def test_what_is_broken_or_of_another_kind(content: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(GGUFError) as caught:
        look_at(str(tmp_path / "m.gguf"))
    assert caught.value.code == code


def test_a_claim_that_cannot_be_meant(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", WHOLE, {"general.architecture": "llama"})
    with pytest.raises(RecipeError) as caught:
        look_at(str(tmp_path / "m.gguf"), "rpi5-16gb-table")
    assert unnamed(caught.value, "rpi5-16gb-table", "llama") == []
    assert look_at(str(tmp_path / "m.gguf"))["nearest"] == {}


def test_a_file_that_the_hub_does_not_have(server: Server) -> None:
    with pytest.raises(FetchError) as caught:
        look_at("hf://open/model@main/gone.gguf", hub=server.hub)
    assert unnamed(caught.value, "rpi5-16gb-card.gguf") == []


def test_what_it_means_for_boards(folder: Path) -> None:
    found = {"location": "m.gguf", **look_at(str(folder / "rpi5-16gb-card.gguf"), "rpi5-16gb-table")}
    report = inspected_file(found, [], HAZARDS)
    assert {board["names"][0]: board["fit"]["fits"] for board in report["boards"]} == {
        "rpi5-16gb": True, "rpi5-8gb": False, "rpi5-4gb": False,
    }  # fmt: skip
    assert report["boards"][0]["fit"]["longest_context"] == 129792
    assert [item["context"] for item in report["memory"]] == list(CONTEXTS)
    assert {item["context"]: round(item["bytes"]["total"] / (1 << 20)) for item in report["memory"]}[16384] == 12465
    assert [item["id"] for item in report["hazards"]] == ["aarch64-fp16-scales"]
    assert report["hazards"][0]["types"] == ["q8_0"]
    two = [{**board, "parallel": 2} for board in kinds_of_boards()]
    assert "slots-mix-recurrent-state" in [item["id"] for item in inspected_file(found, two, HAZARDS)["hazards"]]
    json.dumps(report)
    text = as_text(report)
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert unnamed(text, "rpi5-16gb-card", "rpi5-16gb-table", "blk.*.ssm_out.weight", "12,465", "129,792") == []
    with pytest.raises(AnsibleFilterError):
        inspected_file(found, [], [{"id": "x"}])


@pytest.mark.parametrize(("name", "known"), [("Qwen3.5 35B A3B", True), ("Qwen3.5-35B-A3B", True), ("Other", False)])
def test_the_score_is_that_of_the_model_that_the_header_names(folder: Path, name: str, known: bool) -> None:
    found = {"location": "m.gguf", **look_at(str(folder / "rpi5-16gb-card.gguf"))}
    scored = with_estimates({"file": found["forecast"]}, "", name, str(ROLES / "gguf_quantize/files/sensitivities"))
    report = inspected_file({**found, "forecast": scored["file"]}, [], HAZARDS)
    text = " ".join(as_text(report).split())
    if known:
        assert report["forecast"]["estimate"]["score"] == pytest.approx(0.367, abs=5e-3)
        assert unnamed(text, f"{report['forecast']['estimate']['score']:.3f}", "Thireus", "Qwen3.5-35B-A3B") == []
    else:
        assert unnamed(text, name, "gguf_quantize_sensitivities") == []
