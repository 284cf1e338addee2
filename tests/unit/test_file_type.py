"""What llama-quantize chooses by itself; the whole of it was compared with the engine (tests/bench/dry_run.py)."""

from __future__ import annotations

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.file_type import own_choices
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Tensor, read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import RecipeError, plain, predict, quantize_argv
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream
from naming import unnamed

SOURCE = read_header(stream(QWEN35_METADATA, qwen35_tensors("q8_0")))
BLOCK = (256, 256)


def chosen(
    base: str, default: str, *names: str, output: bool = True, imatrix: bool = True, layers: int = 40
) -> list[str]:
    tensors = [Tensor(name, BLOCK, "f16") for name in names]
    return list(own_choices(base, default, tensors, layers, output, imatrix).values())


@pytest.mark.parametrize(
    ("base", "size"),
    [
        ("Q8_0", 36_892_150_272),
        ("Q6_K", 28_508_242_432),
        ("Q4_K_M", 21_114_563_072),
        ("IQ2_KS", 10_110_678_272),
        ("Q3_K_S", 15_206_093_312),
        ("Q3_K_M", 16_705_098_240),
        ("IQ4_XS", 18_872_289_792),
    ],
)
def test_plain_file_types_have_the_size_that_the_engine_says(base: str, size: int) -> None:
    """The sizes are the real engine's, of its dry run over a file of these shapes, without an importance matrix."""
    assert predict(plain(base, "qwen35moe"), SOURCE, None, "").tensor_bytes == size


def test_a_matrix_changes_what_is_done_to_some() -> None:
    matrix = Imatrix(510, 100, "calibration.txt")
    assert predict(plain("IQ4_XS", "qwen35moe"), SOURCE, matrix, "m").tensor_bytes == 18_661_755_392


def test_the_low_ones_count_the_tensors_before() -> None:
    names = [f"blk.{layer}.ffn_down_{kind}.weight" for layer in range(4) for kind in ("exps", "shexp")]
    assert chosen("IQ2_KS", "iq2_ks", *names) == ["q2_K"] * 5 + ["iq2_ks"] * 3
    assert chosen("IQ2_S", "iq2_xs", *names) == ["iq3_s"] * 5 + ["iq2_xs"] * 3
    assert chosen("IQ2_XXS", "iq2_xxs", *names, layers=12) == ["q2_K"] + ["iq2_xxs"] * 7


@pytest.mark.parametrize("base", ["IQ1_S", "IQ2_KS", "IQ2_M", "IQ2_KT"])
def test_attention_of_the_low_ones(base: str) -> None:
    names = ["attn_q", "attn_k", "attn_qkv", "attn_v", "attn_output"]
    assert chosen(base, "x", *(f"blk.3.{name}.weight" for name in names)) == ["q4_K", "q4_K", "q4_K", "iq4_k", "q5_K"]


def test_attention_of_the_others() -> None:
    names = ["attn_k", "attn_v", "attn_q", "attn_qkv", "attn_output", "attn_gate"]
    full = [f"blk.3.{name}.weight" for name in names]
    assert chosen("Q4_K_M", "q4_K", *full) == ["q8_0", "q8_0", "q4_K", "q4_K", "q5_K", "q4_K"]
    assert chosen("IQ3_XXS", "iq3_xxs", *full) == ["q8_0", "q8_0", "iq2_s", "iq2_s", "q5_K", "iq3_xxs"]
    assert chosen("IQ2_KL", "iq2_kl", full[4]) == ["iq4_ks"]
    assert chosen("Q8_0", "q8_0", full[4]) == ["q8_0"]


@pytest.mark.parametrize(
    ("base", "layer", "imatrix", "wanted"),
    [
        ("Q4_K_M", 4, True, "q6_K"),
        ("Q4_K_M", 5, True, "x"),
        ("Q4_K_M", 7, True, "q6_K"),
        ("Q4_K_M", 35, True, "q6_K"),
        ("Q5_K_M", 34, True, "q6_K"),
        ("IQ3_M", 0, True, "iq4_k"),
        ("Q3_K_M", 1, True, "q5_K"),
        ("Q3_K_M", 2, True, "q4_K"),
        ("Q3_K_L", 30, True, "q5_K"),
        ("Q2_K", 30, True, "q3_K"),
        ("Q2_K_S", 4, True, "q4_K"),
        ("Q4_K_S", 4, True, "q5_K"),
        ("Q4_K_S", 5, True, "x"),
        ("IQ3_XXS", 4, False, "q4_K"),
        ("IQ3_XXS", 5, False, "q3_K"),
        ("IQ3_XXS", 4, True, "x"),
        ("IQ3_KT", 5, False, "iq3_k"),
        ("IQ3_KL", 5, True, "iq3_k"),
        ("IQ3_KL", 4, True, "iq4_ks"),
        ("IQ4_XS", 4, False, "q5_K"),
        ("IQ4_XS", 4, True, "x"),
        ("Q4_0", 0, True, "q4_1"),
        ("Q5_0", 0, True, "q5_1"),
        ("Q4_0", 0, False, "x"),
        ("IQ2_KT", 4, True, "iq3_k"),
        ("IQ2_KT", 5, True, "x"),
    ],
)
def test_ffn_down_by_layer(base: str, layer: int, imatrix: bool, wanted: str) -> None:
    assert chosen(base, "x", f"blk.{layer}.ffn_down_exps.weight", imatrix=imatrix) == [wanted]


def test_gates_and_the_first_layer() -> None:
    gate, first, shared = "blk.{}.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight", "blk.9.ffn_up_shexp.weight"
    assert chosen("IQ3_XS", "x", gate.format(4), gate.format(5), gate.format(34)) == ["x", "iq3_xxs", "iq3_xxs"]
    assert chosen("IQ3_KL", "x", gate.format(4), gate.format(5)) == ["iq4_ks", "x"]
    assert chosen("IQ2_KT", "x", first, "blk.10.ffn_up_exps.weight", shared) == ["iq3_k", "x", "iq4_k"]


@pytest.mark.parametrize(
    ("base", "default", "output", "embedding", "tied"),
    [
        ("IQ2_KS", "iq2_ks", "q5_K", "iq2_ks", "iq4_k"),
        ("IQ2_XXS", "iq2_xxs", "q5_K", "q2_K", "iq4_k"),
        ("IQ2_M", "iq2_s", "q5_K", "iq3_s", "iq4_k"),
        ("IQ4_XS", "iq4_xs", "q6_K", "iq4_xs", "iq5_k"),
        ("Q4_K_M", "q4_K", "q6_K", "q4_K", "q6_K"),
        ("Q8_0", "q8_0", "q8_0", "q8_0", "q8_0"),
    ],
)
def test_embedding_and_output(base: str, default: str, output: str, embedding: str, tied: str) -> None:
    assert chosen(base, default, "output.weight", "token_embd.weight") == [output, embedding]
    assert chosen(base, default, "token_embd.weight", output=False) == [tied]
    odd = [Tensor("output.weight", (96, 8), "f16")]
    assert own_choices(base, default, odd, 40, True, True) == {"output.weight": "q8_0"}


def test_a_plain_file_type_is_called_without_options() -> None:
    argv = quantize_argv(plain("Q4_K_M", "qwen35moe"), "q", "in", "out", "", 0)
    assert argv == ["q", "--allow-requantize", "in", "out", "Q4_K_M"]
    with pytest.raises(RecipeError) as caught:
        plain("Q4_K_X", "qwen35moe")
    assert caught.value.place == "base"
    assert unnamed(caught.value, "Q4_K_X") == []
