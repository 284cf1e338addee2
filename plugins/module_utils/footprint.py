"""How much memory llama-server will take for a model, computed from the model's header.

All sizes are bytes. Shapes and options are those of ik_llama.cpp: ``-c`` is the context of all slots together, the
recurrent state of a hybrid model and its checkpoints exist once for each slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.gguf import TYPES, GGUFError, Header, tensor_bytes

MIB = 1 << 20

_NUMBERS = {
    "layers": "block_count",
    "embedding": "embedding_length",
    "heads": "attention.head_count",
    "heads_kv": "attention.head_count_kv",
    "key_length": "attention.key_length",
    "value_length": "attention.value_length",
    "full_attention_interval": "full_attention_interval",
    "conv_kernel": "ssm.conv_kernel",
    "state_size": "ssm.state_size",
    "group_count": "ssm.group_count",
    "inner_size": "ssm.inner_size",
    "time_step_rank": "ssm.time_step_rank",
    "experts": "expert_count",
    "experts_used": "expert_used_count",
    "context": "context_length",
}


def hyperparameters(header: Header) -> dict[str, int]:
    """The numbers of a model that its size in memory depends on; 0 for what its kind does not have.

    ``heads_kv`` may differ by layer in a file; here it is the largest. Raises GGUFError for what is no number.
    """
    found = {}
    for name, key in _NUMBERS.items():
        value = header.metadata.get(f"{header.architecture}.{key}", 0)
        if isinstance(value, list):
            value = max(value, default=0)
        if not isinstance(value, int) or value < 0:
            raise GGUFError(f"{header.architecture}.{key} is {value!r}, not a number of things: the file is damaged")
        found[name] = value
    if found["heads"]:
        for name in ("key_length", "value_length"):
            found[name] = found[name] or found["embedding"] // found["heads"]
        found["heads_kv"] = found["heads_kv"] or found["heads"]
    # The interval that the engine takes for a hybrid model which does not say.
    if found["state_size"] and not found["full_attention_interval"]:
        found["full_attention_interval"] = 4
    found["vocabulary"] = next((t.shape[1] for t in header.tensors if t.name == "token_embd.weight"), 0)
    found["elements"] = sum(tensor.elements for tensor in header.tensors)
    return found


def recurrent_state_bytes(hparams: Mapping[str, int]) -> int:
    """State of one slot: what a recurrent layer remembers (convolution and delta-net), in all such layers, in f32."""
    if not hparams["state_size"]:
        return 0
    layers = hparams["layers"] - hparams["layers"] // hparams["full_attention_interval"]
    rank = hparams["time_step_rank"]
    convolved = 2 * hparams["state_size"] * hparams["group_count"] + hparams["inner_size"]
    remembered = (hparams["inner_size"] // rank) ** 2 * rank if rank else 0
    return layers * ((hparams["conv_kernel"] - 1) * convolved + remembered) * 4


def kv_cache_bytes(hparams: Mapping[str, int], context: int, type_k: str, type_v: str) -> int:
    """Keys and values of ``context`` tokens in the layers with full attention. Raises ValueError for a bad type."""
    for name in (type_k, type_v):
        if name not in TYPES:
            raise ValueError(f"{name!r} is not a type that the KV cache can have, like f16 or q8_0")
    layers = hparams["layers"] // (hparams["full_attention_interval"] or 1)
    keys = tensor_bytes(type_k, (hparams["key_length"] * hparams["heads_kv"],))
    values = tensor_bytes(type_v, (hparams["value_length"] * hparams["heads_kv"],))
    return layers * context * (keys + values)


def footprint(
    plan: Mapping[str, Any],
    context: int,
    parallel: int = 1,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
    ubatch: int = 512,
    ctx_checkpoints: int = 32,
    cache_ram_mib: int = 8192,
) -> dict[str, int]:
    """Memory by purpose, with its ``total``, for a plan or manifest (``tensor_bytes`` and ``hparams``).

    The defaults are the engine's own. ``compute`` is the largest single buffer, the logits of one micro-batch.
    ``checkpoints`` and ``prompt_cache`` are what the engine may come to take, not what it takes at start.
    """
    hparams = plan["hparams"]
    state = recurrent_state_bytes(hparams)
    parts = {
        "weights": int(plan["tensor_bytes"]),
        "kv_cache": kv_cache_bytes(hparams, int(context), cache_type_k, cache_type_v),
        "recurrent_state": state * int(parallel),
        "compute": hparams["vocabulary"] * int(ubatch) * 4,
        "checkpoints": state * int(parallel) * int(ctx_checkpoints),
        "prompt_cache": int(cache_ram_mib) * MIB,
    }
    return {**parts, "total": sum(parts.values())}
