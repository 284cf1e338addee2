"""A model, an importance matrix and a recipe that do not belong together are refused, and no others."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.coverage import (
    CoverageError,
    check_matrix,
    check_without_matrix,
    entry_of,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header, Tensor, read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import (
    Recipe,
    load_recipe,
    plain,
    predict,
    quantizable,
)
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream
from naming import unnamed

RECIPES = Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files/recipes"
NAMES = sorted(path.stem for path in RECIPES.glob("*.yml"))
UNREAD = Imatrix(1, 1, "")


def shipped(name: str, **changes: Any) -> Recipe:
    data = yaml.safe_load((RECIPES / f"{name}.yml").read_text())
    return load_recipe({**copy.deepcopy(data), **changes})


def header(tensors: list[Tensor] | None = None, **metadata: int) -> Header:
    return read_header(stream({**QWEN35_METADATA, **metadata}, tensors or qwen35_tensors()))


def values(tensor: Tensor) -> int:
    return tensor.shape[0] * (tensor.shape[2] if len(tensor.shape) > 2 else 1)


def computed(source: Header) -> dict[str, int]:
    """The entries that llama-imatrix gives to the true model: gate and up are one step, counted for up."""
    return {
        tensor.name: values(tensor)
        for tensor in source.tensors
        if quantizable(tensor)
        and tensor.name not in ("token_embd.weight", "output.weight")
        and ".ffn_gate_exps." not in tensor.name
        and ".ffn_gate_shexp." not in tensor.name
        and not tensor.name.startswith("blk.40.")
    }


def warnings(recipe: Recipe, source: Header, lengths: dict[str, int], trailing: int = 0) -> list[str]:
    matrix = Imatrix(len(lengths), 1, "", lengths, trailing)
    return check_matrix(recipe, source, predict(recipe, source, matrix, "i"), matrix)


def refused(recipe: Recipe, source: Header, lengths: dict[str, int]) -> CoverageError:
    with pytest.raises(CoverageError) as caught:
        warnings(recipe, source, lengths)
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_s_own_matrix_fits_every_shipped_recipe(name: str) -> None:
    source = header()
    assert warnings(shipped(name), source, computed(source)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_that_predicts_tokens_needs_no_entries(name: str) -> None:
    """llama-imatrix does not run it."""
    tensors = qwen35_tensors()
    last = [tensor for tensor in tensors if tensor.name.startswith("blk.39.")]
    tensors += [Tensor(tensor.name.replace("blk.39.", "blk.40."), tensor.shape, tensor.type) for tensor in last]
    source = header(tensors, **{"qwen35moe.block_count": 41, "qwen35moe.nextn_predict_layers": 1})
    assert warnings(shipped(name), source, computed(source)) == []
    if name == "rpi5-16gb-card":
        ordinary = header(tensors, **{"qwen35moe.block_count": 41})
        assert unnamed(refused(shipped(name), ordinary, computed(ordinary)), "blk.40.ffn_gate_exps.weight") == []


def test_nothing_is_said_of_a_matrix_that_was_not_read() -> None:
    recipe, source = shipped("rpi5-16gb-card"), header()
    assert check_matrix(recipe, source, predict(recipe, source, UNREAD, "i"), UNREAD) == []


@pytest.mark.parametrize("lengths", [{"model.layers.0.mlp.up_proj": 2048}, {"blk.99.ffn_up.weight": 2048}])
def test_a_matrix_of_another_model(lengths: dict[str, int]) -> None:
    error = refused(plain("Q6_K", "qwen35moe"), header(), lengths)
    assert error.code == "other"
    assert unnamed(error, *lengths) == []


def test_a_matrix_in_which_nothing_is_left() -> None:
    assert refused(plain("Q6_K", "qwen35moe"), header(), {}).code == "empty"


@pytest.mark.parametrize(
    ("entry", "length", "tensor", "wanted"),
    [
        ("blk.0.attn_qkv.weight", 4096, "blk.0.attn_qkv.weight", 2048),
        ("blk.0.ffn_down_exps.weight", 512, "blk.0.ffn_down_exps.weight", 512 * 256),
        ("blk.0.ffn_down_exps.weight", 512 * 128, "blk.0.ffn_down_exps.weight", 512 * 256),
        ("blk.0.ffn_up_exps.weight", 1, "blk.0.ffn_gate_exps.weight", 2048 * 256),
    ],
)
def test_an_entry_of_another_size(entry: str, length: int, tensor: str, wanted: int) -> None:
    source = header()
    error = refused(shipped("rpi5-16gb-card"), source, {**computed(source), entry: length})
    assert error.code == "size"
    assert unnamed(error, entry, length, tensor, wanted, 1) == []


def test_sizes_that_the_engine_does_not_look_at() -> None:
    """The embedding's, tensors that are never quantized, and tensors that keep their type."""
    source = header()
    lengths = {**computed(source), "token_embd.weight": 1, "blk.0.ffn_gate_inp.weight": 1, "blk.0.attn_norm.weight": 9}
    assert warnings(shipped("rpi5-16gb-card"), source, lengths) == []
    assert warnings(plain("Q8_0", "qwen35moe"), source, {**lengths, "blk.0.attn_qkv.weight": 7}) == []


def test_a_shipped_recipe_insists_on_entries_for_its_small_types() -> None:
    source = header()
    lengths = computed(source)
    for layer in (9, 12):
        del lengths[f"blk.{layer}.ffn_down_exps.weight"]
    error = refused(shipped("rpi5-16gb-card"), source, lengths)
    assert error.code == "poor"
    assert unnamed(error, 2, "blk.9.ffn_down_exps.weight", "iq2_ks", "requires_imatrix") == []
    (warning,) = warnings(shipped("rpi5-16gb-card", requires_imatrix=False), source, lengths)
    assert unnamed(warning, "blk.9.ffn_down_exps.weight", "iq2_ks") == []


def test_missing_entries_of_larger_types_are_a_warning_with_numbers() -> None:
    """Types that take no account of the values do not count, nor do embedding, output, and a gate with its up."""
    source = header()
    full = computed(source)
    few = {name: length for name, length in full.items() if not name.startswith("blk.1")}
    (warning,) = warnings(plain("Q4_K_M", "qwen35moe"), source, few)
    types = {item.name: item.type for item in predict(plain("Q4_K_M", "qwen35moe"), source, UNREAD, "i").tensors}
    # Each gate of routed experts is quantized with the entry of its up.
    can = [name for name in full if types[name] != "q8_0"]
    can += [f"blk.{layer}.ffn_gate_exps.weight" for layer in range(40)]
    gone = [f"blk.{layer}.ffn_gate_shexp.weight" for layer in range(40) if str(layer).startswith("1")]
    have = sum(not name.startswith("blk.1") for name in can)
    assert unnamed(warning, have, len(can) + len(gone), "blk.1.ffn_gate_exps.weight") == []
    recipe = plain("Q8_0", "qwen35moe")
    assert warnings(recipe, header(qwen35_tensors("bf16")), few) == []


@pytest.mark.parametrize(
    ("base", "token_embedding", "first"),
    [
        ("IQ2_XXS", "q6_K", "blk.3.attn_output.weight"),
        ("IQ2_XS", "q6_K", "blk.3.attn_output.weight"),
        ("IQ1_S", "q6_K", "blk.3.attn_output.weight"),
        ("IQ4_KS", "iq2_xs", "token_embd.weight"),
    ],
)
def test_what_the_engine_refuses_is_refused_before(base: str, token_embedding: str, first: str) -> None:
    """Whatever the recipe says of matrices: for these types the engine stops, after hours, or fails an assertion."""
    recipe = shipped(
        "rpi5-16gb-fast",
        base=base,
        requires_imatrix=False,
        token_embedding={"type": token_embedding},
        rules=[
            {"match": r"attn_output\.weight", "type": "iq2_xs" if base != "IQ4_KS" else "iq4_ks"},
            {"match": ".", "type": "iq4_ks"},
        ],
    )
    source = header()
    lengths = {name: length for name, length in computed(source).items() if "attn_output" not in name}
    error = refused(recipe, source, lengths)
    assert error.code == "demanded"
    assert unnamed(error, first) == []


@pytest.mark.parametrize(
    "base", ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_KT", "IQ1_S", "IQ1_M", "IQ1_KT", "Q2_K_S", "IQ2_M", "IQ3_XXS"]
)
def test_file_types_that_the_engine_refuses_without_a_matrix(base: str) -> None:
    recipe, source = plain(base, "qwen35moe"), header()
    with pytest.raises(CoverageError) as caught:
        check_without_matrix(recipe, source, predict(recipe, source, None, ""))
    assert caught.value.code == "demanded"


@pytest.mark.parametrize("base", ["Q8_0", "Q4_K_M", "Q2_K", "IQ2_KS", "IQ2_K", "IQ2_KL", "IQ3_K", "IQ4_KS"])
def test_file_types_that_need_none(base: str) -> None:
    recipe, source = plain(base, "qwen35moe"), header()
    check_without_matrix(recipe, source, predict(recipe, source, None, ""))


@pytest.mark.parametrize(
    ("name", "entries", "wanted"),
    [
        ("blk.0.ffn_up_exps.weight", {"blk.0.ffn_up_exps.weight", "blk.0.ffn_gate_up_exps.weight"}, 0),
        ("blk.0.ffn_up_exps.weight", ["blk.0.ffn_gate_up_exps.weight"], 0),
        ("blk.0.ffn_up_exps.weight", ["blk.0.ffn_gate_exps.weight"], None),
        ("blk.0.ffn_gate_exps.weight", ["blk.0.ffn_up_exps.weight"], 0),
        ("blk.0.ffn_gate_exps.weight", ["blk.0.ffn_gate_up_exps.weight", "blk.0.ffn_up_exps.weight"], 0),
        ("blk.0.ffn_gate_up_exps.weight", ["blk.0.ffn_up_exps.weight"], 0),
        ("blk.0.ffn_gate_up_exps.weight", ["blk.0.ffn_gate_exps.weight"], None),
        ("blk.0.ffn_gate.weight", ["blk.0.ffn_up.weight"], 0),
        ("blk.0.ffn_gate_shexp.weight", ["blk.0.ffn_up_shexp.weight"], None),
        ("blk.0.attn_v_b.weight", ["blk.0.attn_kv_b.weight"], 0),
        ("blk.0.attn_kv_b.weight", ["blk.0.attn_v_b.weight"], 0),
        ("blk.0.attn_k_b.weight", ["blk.0.attn_kv_b.weight"], None),
        ("blk.0.ffn_up.weight", ["blk.10.ffn_up.weight"], None),
    ],
)
def test_entries_that_the_engine_takes_for_others(name: str, entries: Any, wanted: int | None) -> None:
    found = entry_of(name, entries)
    if wanted is None:
        assert found == ""
    else:
        assert found == (name if name in entries else list(entries)[wanted])


def test_bytes_behind_the_end_are_a_warning() -> None:
    source = header()
    (warning,) = warnings(shipped("rpi5-16gb-card"), source, computed(source), trailing=4321)
    assert unnamed(warning, 4321) == []
