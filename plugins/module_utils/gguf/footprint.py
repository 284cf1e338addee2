"""How much memory llama-server will take for a model, and how much of it each token reads, from the model's header.

All sizes are bytes. Shapes and options are those of ik_llama.cpp: ``-c`` is the context of all slots together, the
recurrent state of a hybrid model and its checkpoints exist once for each slot. Sources: ``llama_kv_cache_init`` and
``llama_new_context_with_model`` in ``src/llama.cpp``, and measurements of the real server (docs/recipes.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    TYPES,
    GGUFError,
    Header,
    Tensor,
    tensor_bytes,
)

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
    "predict_layers": "nextn_predict_layers",
}


def hyperparameters(header: Header) -> dict[str, int]:
    """Return the numbers of a model that its size in memory depends on; 0 for what its kind does not have.

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
    widths = (t.shape[0] for t in header.tensors if re.search(r"\.ffn_down(_exps)?\.weight$", t.name))
    found["feed_forward"] = next(widths, 0)
    found["vocabulary"] = next((t.shape[1] for t in header.tensors if t.name == "token_embd.weight"), 0)
    found["elements"] = sum(tensor.elements for tensor in header.tensors)
    return found


def _layers(hparams: Mapping[str, int]) -> tuple[int, int]:
    """Layers with full attention and recurrent layers. Layers that only predict further tokens (MTP) are not run."""
    layers = hparams["layers"] - hparams.get("predict_layers", 0)
    full = layers // (hparams["full_attention_interval"] or 1)
    return full, layers - full if hparams["state_size"] else 0


def recurrent_state_bytes(hparams: Mapping[str, int]) -> int:
    """State of one slot: what a recurrent layer remembers (convolution and delta-net), in all such layers, in f32."""
    if not hparams["state_size"]:
        return 0
    rank = hparams["time_step_rank"]
    convolved = 2 * hparams["state_size"] * hparams["group_count"] + hparams["inner_size"]
    remembered = (hparams["inner_size"] // rank) ** 2 * rank if rank else 0
    return _layers(hparams)[1] * ((hparams["conv_kernel"] - 1) * convolved + remembered) * 4


def kv_cache_bytes(hparams: Mapping[str, int], context: int, type_k: str, type_v: str) -> int:
    """Keys and values of ``context`` tokens in the layers with full attention. Raises ValueError for a bad type."""
    for name in (type_k, type_v):
        if name not in TYPES:
            raise ValueError(f"{name!r} is not a type that the KV cache can have, like f16 or q8_0")
    keys = tensor_bytes(type_k, (hparams["key_length"] * hparams["heads_kv"],))
    values = tensor_bytes(type_v, (hparams["value_length"] * hparams["heads_kv"],))
    return _layers(hparams)[0] * context * (keys + values)


# Resident memory of the server beyond its buffers: its own code and data, and what it keeps of each word of the
# vocabulary. Measured with models of 260 and of 248320 words (tests/bench/resident.py).
_PROGRAM = 24 * MIB
_WORD = 344


def compute_bytes(hparams: Mapping[str, int], context: int, tokens: int, parallel: int) -> int:
    """What one micro-batch of ``tokens`` writes: activations (f32), the mask over the context (f16), and the logits.

    The most activations that live at a time are those of a feed-forward layer: for each expert in use its two inner
    results and its outcome, and what goes around it. Measured of one kind of model, Qwen3.5-35B-A3B.
    """
    width, inner = hparams["embedding"], hparams.get("feed_forward", 0)
    activations = max(hparams["experts_used"], 1) * (width + 2 * inner) + 2 * width
    return 4 * activations * tokens + 2 * context * tokens + 4 * hparams["vocabulary"] * parallel


def footprint(
    model: Mapping[str, Any],
    context: int,
    parallel: int = 1,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
    ubatch: int = 512,
    ctx_checkpoints: int = 32,
    cache_ram_mib: int = 8192,
) -> dict[str, int]:
    """Return memory by purpose, with its ``total``, for a forecast or manifest (``tensor_bytes`` and ``hparams``).

    The defaults are the engine's own. ``compute``, ``checkpoints`` and ``prompt_cache`` are filled by work, the rest is
    there from the start. Of its compute buffer the engine uses only a part: it reserves logits for a whole micro-batch
    (485 MiB for Qwen3.5-35B-A3B), but a chat asks for those of the last token, and what is never written takes no
    memory.
    """
    hparams = model["hparams"]
    state = recurrent_state_bytes(hparams)
    parts = {
        "weights": int(model["tensor_bytes"]),
        "program": _PROGRAM + _WORD * hparams["vocabulary"],
        "kv_cache": kv_cache_bytes(hparams, int(context), cache_type_k, cache_type_v),
        "recurrent_state": state * int(parallel),
        "compute": compute_bytes(hparams, int(context), min(int(ubatch), int(context)), int(parallel)),
        "checkpoints": state * int(parallel) * int(ctx_checkpoints),
        "prompt_cache": int(cache_ram_mib) * MIB,
    }
    return {**parts, "total": sum(parts.values())}


def at_start(parts: Mapping[str, int]) -> int:
    """Return how much of a ``footprint`` is resident when the server is ready and has not worked yet."""
    return sum(parts[name] for name in ("weights", "program", "kv_cache", "recurrent_state"))


MEMORY_OPTIONS = ("parallel", "cache_type_k", "cache_type_v", "ubatch", "ctx_checkpoints", "cache_ram_mib")


def _needs(model: Mapping[str, Any], options: Mapping[str, Any], context: int) -> dict[str, int]:
    return footprint(model, context, **{name: options[name] for name in MEMORY_OPTIONS if name in options})


def room_for_weights(hparams: Mapping[str, int], options: Mapping[str, Any], room: int) -> int:
    """Return how many bytes of weights ``room`` bytes of memory can take, with ``context`` and memory options given."""
    model = {"tensor_bytes": 0, "hparams": hparams}
    return room - _needs(model, options, int(options["context"]))["total"]


# Contexts are multiples of so many tokens, as the engine rounds them.
CONTEXT_STEP = 256


def longest_context(model: Mapping[str, Any], options: Mapping[str, Any], room: int) -> int:
    """Return the longest context in tokens whose footprint is at most ``room`` bytes, up to the model's own.

    0 where not even the shortest fits.
    """
    low, high = 0, max(int(model["hparams"]["context"]) // CONTEXT_STEP, 1)
    while low < high:
        middle = (low + high + 1) // 2
        if _needs(model, options, middle * CONTEXT_STEP)["total"] <= room:
            low = middle
        else:
            high = middle - 1
    return low * CONTEXT_STEP


def fit(
    model: Mapping[str, Any], options: Mapping[str, Any], memory_mib: int, reserve_mib: int, others_mib: int = 0
) -> dict[str, Any]:
    """Return whether a model fits a board with these server options, and a sentence about it.

    Args:
        model: its forecast or manifest.
        options: ``context`` (tokens, of all slots together), and of ``MEMORY_OPTIONS`` what is not the default.
        memory_mib: the board's memory as its kernel counts it.
        reserve_mib: memory left to the rest of the board.
        others_mib: memory that other programs use; it counts where it is more than the reserve.

    Returns:
        ``parts`` (bytes by purpose, with ``total``), ``need_mib``, ``room_mib``, ``fits``, ``longest_context`` (tokens)
        and ``sentence``.
    """
    context = int(options["context"])
    parts = _needs(model, options, context)
    room = memory_mib - max(reserve_mib, others_mib)
    need = -(-parts["total"] // MIB)
    longest = longest_context(model, options, room * MIB)
    sizes = ", ".join(f"{name} {size / MIB:.0f}" for name, size in parts.items() if name != "total" and size)
    words = (
        f"the model needs {need} MiB of memory at llama_server_context {context} ({sizes}), and this board has"
        f" {room} MiB for it ({memory_mib} less "
        + (
            f"{others_mib} that other programs use now, more than llama_server_memory_reserve_mib = {reserve_mib})"
            if others_mib > reserve_mib
            else f"{reserve_mib} for the system, llama_server_memory_reserve_mib)"
        )
    )
    if need <= room:
        words += f": it fits with {room - need} MiB to spare, and up to a context of {longest}"
    elif longest:
        words += f": with a context of at most {longest} it would fit; or choose a smaller recipe"
    elif parts["weights"] > room * MIB:
        words += ": the weights alone are too large; choose a smaller recipe, or a board with more memory"
    else:
        words += (
            ": no context is short enough; lower llama_server_ctx_checkpoints, llama_server_cache_ram_mib or"
            " llama_server_ubatch, or choose a smaller recipe or a board with more memory"
        )
    return {
        "parts": parts,
        "need_mib": need,
        "room_mib": room,
        "fits": need <= room,
        "longest_context": longest,
        "sentence": words,
    }


def read_share(name: str, hparams: Mapping[str, int], tied: bool) -> float:
    """Return the part of a tensor that is read to generate one token, from 0 to 1.

    Of routed experts only the chosen ones are read, and of the embedding one row, except where it serves as the output
    too (``tied``). Layers that only predict further tokens (MTP) are not read.
    """
    layer = re.match(r"blk\.(\d+)\.", name)
    if layer and int(layer.group(1)) >= hparams["layers"] - hparams.get("predict_layers", 0):
        return 0.0
    if "_exps." in name and hparams["experts"]:
        return hparams["experts_used"] / hparams["experts"]
    if name == "token_embd.weight" and not tied:
        return 1 / hparams["vocabulary"]
    return 1.0


def bytes_per_token(tensors: Iterable[Tensor], hparams: Mapping[str, int]) -> dict[str, int]:
    """Return bytes of weights read to generate one token: ``always``, routed ``experts``, and both as ``total``."""
    found = list(tensors)
    tied = all(tensor.name != "output.weight" for tensor in found)
    always = experts = 0.0
    for tensor in found:
        read = tensor_bytes(tensor.type, tensor.shape) * read_share(tensor.name, hparams, tied)
        if "_exps." in tensor.name:
            experts += read
        else:
            always += read
    return {"always": round(always), "experts": round(experts), "total": round(always + experts)}


def bits(tensor: Tensor) -> float:
    """Return bits per element of a tensor, with all that its type adds."""
    return tensor_bytes(tensor.type, tensor.shape) * 8 / tensor.elements


# On aarch64, engines from before 2026-09-22 (pull request 2503) round the product of two block scales of these to fp16
# when they generate. K-quants and IQK types are not affected.
ROUNDED_ON_ARM = frozenset(("q4_0", "q4_1", "q5_0", "q5_1", "q6_0", "q8_0", "iq4_nl", "mxfp4"))


def tokens_per_second(read: int, hparams: Mapping[str, int], bandwidth: float, kv_bytes: int = 0) -> float:
    """Return the most tokens a second that memory allows: ``bandwidth`` (bytes a second) over all that one token reads.

    That are the weights (``read``), the recurrent state (read and written) and ``kv_bytes`` of earlier tokens.
    """
    return bandwidth / (read + 2 * recurrent_state_bytes(hparams) + kv_bytes)


def bytes_for_speed(speed: float, hparams: Mapping[str, int], bandwidth: float) -> int:
    """Return how many bytes of weights a token may read for ``speed`` tokens a second; see ``tokens_per_second``."""
    return int(bandwidth / speed) - 2 * recurrent_state_bytes(hparams)
