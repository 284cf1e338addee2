"""GGUF headers for the tests, written byte by byte so that they do not depend on the reader under test."""

from __future__ import annotations

import io
import struct
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import TYPES, Tensor, padded, tensor_bytes


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item: Any) -> bytes:
    if isinstance(item, bool):
        return struct.pack("<I?", 7, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, str):
        return struct.pack("<I", 8) + text(item)
    if isinstance(item[0], str):
        return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(map(text, item))
    return struct.pack(f"<IIQ{len(item)}i", 9, 5, len(item), *item)


def header_bytes(metadata: dict[str, Any], tensors: list[Tensor], version: int = 3, alignment: int = 32) -> bytes:
    """A header with the tensors' data one after the other, filled up to the alignment."""
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    data += b"".join(text(key) + value(item) for key, item in metadata.items())
    offset = 0
    for tensor in tensors:
        data += text(tensor.name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        data += struct.pack("<IQ", TYPES[tensor.type].id, offset)
        offset += padded(tensor_bytes(tensor.type, tensor.shape), alignment)
    return data.ljust(padded(len(data), alignment), b"\0")


def stream(metadata: dict[str, Any], tensors: list[Tensor], **options: Any) -> io.BytesIO:
    return io.BytesIO(header_bytes(metadata, tensors, **options))


QWEN35_METADATA: dict[str, Any] = {
    "general.architecture": "qwen35moe",
    "general.file_type": 7,
    "general.quantization_version": 2,
    "qwen35moe.block_count": 40,
    "qwen35moe.context_length": 262144,
    "qwen35moe.embedding_length": 2048,
    "qwen35moe.attention.head_count": 16,
    "qwen35moe.attention.head_count_kv": 2,
    "qwen35moe.attention.key_length": 256,
    "qwen35moe.attention.value_length": 256,
    "qwen35moe.full_attention_interval": 4,
    "qwen35moe.expert_count": 256,
    "qwen35moe.expert_used_count": 8,
    "qwen35moe.ssm.conv_kernel": 4,
    "qwen35moe.ssm.state_size": 128,
    "qwen35moe.ssm.group_count": 16,
    "qwen35moe.ssm.inner_size": 4096,
    "qwen35moe.ssm.time_step_rank": 32,
}


def qwen35_tensors(kind: str = "q8_0") -> list[Tensor]:
    """The 733 tensors of Qwen3.5-35B-A3B in their true shapes, the quantizable ones as ``kind``."""
    tensors = [
        Tensor("token_embd.weight", (2048, 248320), kind),
        Tensor("output_norm.weight", (2048,), "f32"),
        Tensor("output.weight", (2048, 248320), kind),
    ]
    shared = {
        "attn_norm.weight": ((2048,), "f32"),
        "post_attention_norm.weight": ((2048,), "f32"),
        "ffn_gate_inp.weight": ((2048, 256), "f32"),
        "ffn_gate_exps.weight": ((2048, 512, 256), kind),
        "ffn_up_exps.weight": ((2048, 512, 256), kind),
        "ffn_down_exps.weight": ((512, 2048, 256), kind),
        "ffn_gate_inp_shexp.weight": ((2048,), "f32"),
        "ffn_gate_shexp.weight": ((2048, 512), kind),
        "ffn_up_shexp.weight": ((2048, 512), kind),
        "ffn_down_shexp.weight": ((512, 2048), kind),
    }
    full = {
        "attn_q.weight": ((2048, 8192), kind),
        "attn_k.weight": ((2048, 512), kind),
        "attn_v.weight": ((2048, 512), kind),
        "attn_output.weight": ((4096, 2048), kind),
        "attn_q_norm.weight": ((256,), "f32"),
        "attn_k_norm.weight": ((256,), "f32"),
    }
    linear = {
        "attn_qkv.weight": ((2048, 8192), kind),
        "attn_gate.weight": ((2048, 4096), kind),
        "ssm_conv1d.weight": ((4, 8192), "f32"),
        "ssm_dt.bias": ((32,), "f32"),
        "ssm_a": ((32,), "f32"),
        "ssm_beta.weight": ((2048, 32), kind),
        "ssm_alpha.weight": ((2048, 32), kind),
        "ssm_norm.weight": ((128,), "f32"),
        "ssm_out.weight": ((4096, 2048), kind),
    }
    for layer in range(40):
        for name, (shape, type_name) in {**shared, **(full if layer % 4 == 3 else linear)}.items():
            tensors.append(Tensor(f"blk.{layer}.{name}", shape, type_name))
    return tensors
