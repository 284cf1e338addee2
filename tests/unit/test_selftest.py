"""The self-test's models are what they claim to be, and its arithmetic tells sound from unsound."""

from __future__ import annotations

import io
import math
import random
import struct
from typing import Any

import gguf as reference
import numpy as np
import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import selftest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import TYPES, Header, read_header, tensor_bytes
from naming import unnamed

KNOWN = [kind for kind in selftest.BLOCKS if kind.upper() in reference.GGMLQuantizationType.__members__]


def opened(data: bytes) -> Header:
    return read_header(io.BytesIO(data), len(data))


def content(data: bytes, name: str) -> Any:
    """A tensor's values by the gguf package, one row of the matrix in each row."""
    header = opened(data)
    (tensor,) = (tensor for tensor in header.tensors if tensor.name == name)
    start = header.data_start + tensor.offset
    raw = np.frombuffer(data[start : start + tensor_bytes(tensor.type, tensor.shape)], dtype=np.uint8)
    return values(raw, tensor.type, tensor.shape)


def values(raw: Any, kind: str, shape: tuple[int, ...]) -> Any:
    flat = raw.view(np.float32) if kind == "f32" else reference.dequantize(raw, reference_type(kind))
    return flat.reshape(tuple(reversed(shape))).astype(np.float64)


def reference_type(kind: str) -> Any:
    return reference.GGMLQuantizationType[kind.upper()]


@pytest.fixture(scope="module")
def golden() -> bytes:
    return selftest.golden_model()


@pytest.fixture(scope="module")
def probe() -> bytes:
    return selftest.probe_model(["q8_0", "q6_K", "iq4_ks"])


def test_the_files_are_small_and_whole(golden: bytes, probe: bytes) -> None:
    assert opened(golden).architecture == "qwen35moe"
    assert opened(probe).architecture == "llama"
    default = selftest.probe_model(selftest.DEFAULT_TYPES)
    assert max(len(golden), len(default)) < 4_000_000


def test_the_golden_model_has_the_types_of_the_recipe(golden: bytes) -> None:
    kinds = {tensor.type for tensor in opened(golden).tensors}
    assert kinds == {"f32", "q8_0", "q6_K", "q4_K", "iq4_k", "iq4_ks", "iq2_ks"}


def test_tensors_are_where_the_header_says() -> None:
    tensors: list[selftest.Tensor] = [("a", (3,), "f32", selftest.floats([1, 2, 3])), ("b", (32,), "q8_0", b"x" * 34)]
    data = selftest.gguf_file({"general.architecture": "none", "a.list": [1, -2], "a.flag": True}, tensors)
    header = opened(data)
    assert header.metadata == {"general.architecture": "none", "a.list": [1, -2], "a.flag": True}
    starts = [header.data_start + tensor.offset for tensor in header.tensors]
    assert [data[at : at + len(tensor[3])] for at, tensor in zip(starts, tensors)] == [tensor[3] for tensor in tensors]
    with pytest.raises(ValueError) as caught:
        selftest.gguf_file({}, [("a", (3,), "f32", b"")])
    assert unnamed(caught.value, "a", 0, "f32", "[3]") == []


def test_without_its_layers_the_golden_model_recites(golden: bytes) -> None:
    said = selftest.GOLDEN_PROMPT
    embedding, output = content(golden, "token_embd.weight"), content(golden, "output.weight")
    for _ in selftest.GOLDEN_ANSWER:
        logits = output @ embedding[ord(said[-1])]
        assert sorted(logits)[-1] == 256 * selftest.VOICE
        assert sorted(logits)[-2] == 0
        said += chr(int(logits.argmax()))
    assert said == selftest.GOLDEN_PROMPT + selftest.GOLDEN_ANSWER
    assert output[ord("a")] @ embedding[ord("!")] == 256 * selftest.VOICE


def test_every_byte_has_a_token() -> None:
    tokens = selftest.byte_tokens()
    assert len(set(tokens)) == 256
    assert (tokens[ord("q")], tokens[ord(" ")], tokens[ord("\n")], tokens[0xFF]) == ("q", "Ġ", "Ċ", "ÿ")


def test_whole_numbers_are_exact_in_q6_k() -> None:
    rows = [[(7 * column + row) % 64 - 32 for column in range(256)] for row in range(3)]
    raw = np.frombuffer(selftest.whole_q6_k(rows, 0.125), dtype=np.uint8)
    assert (values(raw, "q6_K", (256, 3)) == np.array(rows) * 0.125).all()


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("spread", [selftest.INNER_SPREAD, 0.002])
def test_random_blocks_have_the_size_that_was_asked_for(kind: str, spread: float) -> None:
    data = selftest.random_weights(kind, (512, 64), spread, random.Random(1))
    weights = values(np.frombuffer(data, dtype=np.uint8), kind, (512, 64))
    assert np.isfinite(weights).all()
    assert spread / 1.7 < math.sqrt((weights**2).mean()) < spread * 1.7


@pytest.mark.parametrize("kind", [kind for kind, blocks in selftest.BLOCKS.items() if not blocks.scales])
def test_types_with_a_scale_to_the_row_have_it(kind: str) -> None:
    form = {2: "<e", 4: "<f"}[TYPES[kind].row_bytes]
    data = selftest.random_weights(kind, (512, 4), 0.01, random.Random(1))
    row = tensor_bytes(kind, (512,))
    scales = {struct.unpack_from(form, data, row * number)[0] for number in range(4)}
    assert len(scales) == 1
    assert scales.pop() == pytest.approx(0.01 / selftest.BLOCKS[kind].spread, rel=0.01)


def test_scales_of_blocks_differ_and_are_small() -> None:
    plan_spread = selftest.OUTER_SCALE * selftest.BLOCKS["q8_0"].spread
    data = selftest.random_weights("q8_0", (256, 64), plan_spread, random.Random(1))
    scales = [struct.unpack_from("<e", data, at)[0] for at in range(0, len(data), 34)]
    assert len(set(scales)) > 100
    assert min(scales) > 1.4e-5
    assert max(scales) < 3.1e-5
    assert not any(0x80 in data[at + 2 : at + 34] for at in range(0, len(data), 34))


def test_a_layer_of_the_probe_reads_and_writes_only_its_own_channels(probe: bytes) -> None:
    plan = selftest.probe_plan(["q8_0", "q6_K", "iq4_ks"])
    output = content(probe, "output.weight")
    for layer, kind in enumerate(["q8_0", "q6_K"]):
        norm = content(probe, f"blk.{layer}.ffn_norm.weight")
        assert norm[: selftest.BASE].all()
        assert not norm[selftest.BASE :].any()
        down = content(probe, f"blk.{layer}.ffn_down.weight")
        channels = {channel for channel in range(selftest.WIDTH) if down[channel].any()}
        read = {channel for token in plan.tokens[kind] for channel in np.flatnonzero(output[token])}
        assert channels == read
        assert len(channels) == len(plan.tokens[kind]) == selftest.MAX_CHANNELS
    assert not output[plan.silent].any()
    assert not content(probe, "blk.3.ffn_down.weight").any()


def test_the_probe_s_tokens_follow_one_another(probe: bytes) -> None:
    embedding, output = content(probe, "token_embd.weight"), content(probe, "output.weight")
    for token in range(selftest.CYCLE):
        state = embedding[token] / math.sqrt((embedding[token] ** 2).mean())
        logits = output @ state
        assert int(logits.argmax()) == (token + 1) % selftest.CYCLE
        assert np.sort(logits)[-1] - np.sort(logits)[-2] > 15
    assert selftest.PROMPT % selftest.CYCLE == 0


@pytest.mark.parametrize(
    ("types", "names"),
    [([], [1, selftest.BASE // 4]), (["f16"], ["f16", "q8_0"]), (["q8_0", "q8_0"], [1, selftest.BASE // 4])],
)
def test_types_that_cannot_be_measured_are_refused(types: list[str], names: list[Any]) -> None:
    with pytest.raises(selftest.TypesError) as caught:
        selftest.probe_plan(types)
    assert unnamed(caught.value, *names) == []


def test_every_type_can_be_measured_at_once() -> None:
    plan = selftest.probe_plan(list(selftest.BLOCKS))
    tokens = [token for some in plan.tokens.values() for token in some]
    assert tokens == list(range(selftest.CYCLE, plan.silent))


def test_errors_are_relative_and_by_type() -> None:
    plan = selftest.probe_plan(["q8_0", "q6_K"])
    many = {token: float(token) for token in range(plan.vocabulary)}
    one = {token: value * (1.25 if token in plan.tokens["q8_0"] else 1) for token, value in many.items()}
    assert selftest.errors([(one, many)], plan) == {"q8_0": pytest.approx(0.25), "q6_K": 0}


@pytest.mark.parametrize("broken", [math.nan, math.inf, 0.0])
def test_what_is_not_a_number_or_nothing_at_all_is_the_largest_error(broken: float) -> None:
    plan = selftest.probe_plan(["q8_0"])
    many = dict.fromkeys(range(plan.vocabulary), broken)
    assert selftest.errors([(many, many)], plan) == {"q8_0": selftest.MAX_ERROR}
    assert selftest.errors([({}, dict.fromkeys(many, 1.0))], plan) == {"q8_0": selftest.MAX_ERROR}


def test_both_forms_of_probabilities_are_read() -> None:
    plan = selftest.probe_plan(["q8_0"])
    old = [{"tok_str": "w40", "prob": 0.5}, {"tok_str": "w48", "prob": 0.25}, {"tok_str": "", "prob": 0.25}]
    new = [{"id": 40, "token": "w40", "logprob": -1.0}, {"id": 48, "token": "w48", "logprob": -1.5}]
    assert plan.silent == 48
    assert selftest.logits({"completion_probabilities": [{"probs": old}]}, 0, plan)[40] == pytest.approx(math.log(2))
    assert selftest.logits({"completion_probabilities": [{"top_logprobs": new}]}, 0, plan) == {40: 0.5, 48: 0.0}


@pytest.mark.parametrize("reply", [{}, {"completion_probabilities": []}, {"completion_probabilities": [{"probs": []}]}])
def test_an_answer_without_probabilities_is_told(reply: dict[str, Any]) -> None:
    with pytest.raises(selftest.SelfTestError) as caught:
        selftest.logits(reply, 0, selftest.probe_plan(["q8_0"]))
    assert caught.value.code == "probabilities"
