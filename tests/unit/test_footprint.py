from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import (
    at_start,
    bits,
    bytes_per_token,
    fit,
    footprint,
    hyperparameters,
    longest_context,
    read_share,
    tokens_per_second,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError, Tensor, read_header
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream
from naming import unnamed

MIB = 1 << 20
PLAN: dict[str, Any] = {
    "hparams": hyperparameters(read_header(stream(QWEN35_METADATA, qwen35_tensors()))),
    "tensor_bytes": 12_218_867_968,
}


def test_qwen35_as_the_engine_measured_it() -> None:
    parts = footprint(PLAN, 16384, parallel=1, ctx_checkpoints=2, cache_ram_mib=0)
    assert parts["kv_cache"] == 320 * MIB
    assert parts["recurrent_state"] == pytest.approx(62.8 * MIB, rel=1e-3)
    assert parts["compute"] == (56 + 16) * MIB + 248320 * 4
    assert parts["checkpoints"] == 2 * parts["recurrent_state"]
    assert parts["prompt_cache"] == 0
    assert parts["total"] == sum(size for name, size in parts.items() if name != "total")


def test_what_each_option_adds() -> None:
    one = footprint(PLAN, 16384)
    two = footprint(PLAN, 32768, parallel=2, cache_type_k="q8_0", cache_type_v="q8_0", ubatch=256, cache_ram_mib=256)
    assert two["kv_cache"] == one["kv_cache"] * 2 * 34 // 64
    assert two["recurrent_state"] == 2 * one["recurrent_state"]
    assert two["compute"] == (28 + 16) * MIB + 2 * 248320 * 4
    assert two["prompt_cache"] == 256 * MIB
    assert one["prompt_cache"] == 8192 * MIB


def test_a_model_of_the_plain_kind() -> None:
    header = read_header(
        stream(
            {
                "general.architecture": "llama",
                "llama.block_count": 8,
                "llama.embedding_length": 512,
                "llama.attention.head_count": 8,
                "llama.attention.head_count_kv": [2, 4],
            },
            [Tensor("token_embd.weight", (512, 1000), "f16")],
        )
    )
    hparams = hyperparameters(header)
    assert (hparams["key_length"], hparams["heads_kv"], hparams["vocabulary"]) == (64, 4, 1000)
    parts = footprint({"hparams": hparams, "tensor_bytes": 1}, 1024)
    assert parts["kv_cache"] == 8 * 1024 * 2 * 64 * 4 * 2
    assert parts["recurrent_state"] == parts["checkpoints"] == 0


def test_nonsense_in_a_header() -> None:
    with pytest.raises(GGUFError) as caught:
        hyperparameters(read_header(stream({"general.architecture": "x", "x.block_count": "many"}, [])))
    assert unnamed(caught.value, "x.block_count", "many") == []


def test_layers_that_only_predict_more_tokens_take_no_memory_of_their_own() -> None:
    more = {**PLAN["hparams"], "layers": 41, "predict_layers": 1}
    parts = footprint({**PLAN, "hparams": more}, 16384)
    assert parts == footprint(PLAN, 16384)
    assert read_share("blk.40.ffn_up_exps.weight", more, False) == 0.0
    assert read_share("blk.39.attn_q.weight", more, False) == 1.0


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        footprint(PLAN, 4096, cache_type_k="q9")
    assert unnamed(caught.value, "q9") == []


OPTIONS: dict[str, Any] = {"context": 16384, "parallel": 1, "ctx_checkpoints": 4, "cache_ram_mib": 0}


def test_the_longest_context_is_the_longest() -> None:
    room = 14794 * MIB
    longest = longest_context(PLAN, OPTIONS, room)
    options: dict[str, Any] = {"parallel": 1, "ctx_checkpoints": 4, "cache_ram_mib": 0}
    assert footprint(PLAN, longest, **options)["total"] <= room < footprint(PLAN, longest + 256, **options)["total"]
    assert longest_context(PLAN, OPTIONS, 1 << 50) == PLAN["hparams"]["context"]
    assert longest_context(PLAN, OPTIONS, 11 << 30) == 0


def test_fits_and_does_not() -> None:
    good = fit(PLAN, OPTIONS, 15818, 1024)
    assert (good["fits"], good["need_mib"], good["room_mib"]) == (True, 12466, 14794)
    assert good["longest_context"] == 129792
    assert unnamed(good["sentence"], 12466, 14794, 2328, 129792, "llama_server_context") == []
    filled = fit(PLAN, {**OPTIONS, "cache_ram_mib": 8192}, 15818, 1024)
    assert (filled["fits"], filled["longest_context"]) == (False, 0)
    assert unnamed(filled["sentence"], "llama_server_ctx_checkpoints", "llama_server_cache_ram_mib") == []
    assert good["parts"]["total"] - at_start(good["parts"]) == good["parts"]["compute"] + good["parts"]["checkpoints"]


def test_what_one_token_reads() -> None:
    hparams = PLAN["hparams"]
    tensors = [
        Tensor("token_embd.weight", (2048, 248320), "q8_0"),
        Tensor("blk.0.ffn_up_exps.weight", (2048, 512, 256), "q8_0"),
        Tensor("blk.0.attn_q.weight", (2048, 8192), "q8_0"),
    ]
    row = 2048 * 34 // 32
    tied = bytes_per_token(tensors, hparams)
    assert tied == {"always": row * (248320 + 8192), "experts": row * 512 * 8, "total": row * (248320 + 8192 + 4096)}
    output = Tensor("output.weight", (2048, 248320), "f16")
    both = bytes_per_token([*tensors, output], hparams)
    assert both["always"] == row * (1 + 8192) + 248320 * 2048 * 2
    assert bits(tensors[0]) == 8.5


def test_speed_follows_what_is_read() -> None:
    hparams = PLAN["hparams"]
    assert tokens_per_second(10**9, {"state_size": 0}, 11e9) == 11
    assert tokens_per_second(10**9, {"state_size": 0}, 11e9, 10**8) == 10
    assert tokens_per_second(10**9, hparams, 11e9) < 11


def test_other_programs_count_where_they_use_more_than_the_reserve() -> None:
    alone = fit(PLAN, OPTIONS, 15818, 1024)
    assert fit(PLAN, OPTIONS, 15818, 1024, 900) == alone
    beside = fit(PLAN, OPTIONS, 15818, 1024, 4000)
    assert (alone["fits"], beside["fits"], beside["room_mib"]) == (True, False, 15818 - 4000)
    assert unnamed(beside["sentence"], 4000, 15818, "llama_server_memory_reserve_mib", 1024) == []
