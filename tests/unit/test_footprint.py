from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible.module_utils.footprint import footprint, hyperparameters
from ansible.module_utils.gguf import GGUFError, Tensor, read_header
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream

MIB = 1 << 20
PLAN = {
    "hparams": hyperparameters(read_header(stream(QWEN35_METADATA, qwen35_tensors()))),
    "tensor_bytes": 12_218_867_968,
}


def test_qwen35_as_the_engine_measured_it() -> None:
    parts = footprint(PLAN, 16384, parallel=1, ctx_checkpoints=2, cache_ram_mib=0)
    assert parts["kv_cache"] == 320 * MIB
    assert parts["recurrent_state"] == pytest.approx(62.8 * MIB, rel=1e-3)
    assert parts["compute"] == 485 * MIB
    assert parts["checkpoints"] == 2 * parts["recurrent_state"]
    assert parts["prompt_cache"] == 0
    assert parts["total"] == sum(size for name, size in parts.items() if name != "total")


def test_what_each_option_adds() -> None:
    one = footprint(PLAN, 16384)
    two = footprint(PLAN, 32768, parallel=2, cache_type_k="q8_0", cache_type_v="q8_0", ubatch=256, cache_ram_mib=256)
    assert two["kv_cache"] == one["kv_cache"] * 2 * 34 // 64
    assert two["recurrent_state"] == 2 * one["recurrent_state"]
    assert two["compute"] * 2 == one["compute"]
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
    with pytest.raises(GGUFError, match="block_count"):
        hyperparameters(read_header(stream({"general.architecture": "x", "x.block_count": "many"}, [])))


def test_filter(plugin: Any) -> None:
    llama_footprint = plugin("filter", "footprint").FilterModule().filters()["llama_footprint"]
    assert llama_footprint(PLAN, 4096, parallel=1)["total"] > PLAN["tensor_bytes"]
    with pytest.raises(AnsibleFilterError, match="q9"):
        llama_footprint(PLAN, 4096, cache_type_k="q9")
    with pytest.raises(AnsibleFilterError, match="hparams"):
        llama_footprint({}, 4096)
