"""The two tiny models by which an engine release is tested on the host that runs it.

Both models are written here, byte by byte, with the standard library alone: no quantizer is needed, because any valid
block of a type *is* a weight. The same bytes come out on every host.

**Golden model** (:func:`golden_model`): of the kind that is served (``qwen35moe``: delta-net, full attention in the
fourth layer, routed and shared experts), in the types of the published recipe for a 16 GB board. It recites the
alphabet: embeddings are orthogonal rows of +1 and -1, the output row of a letter is the embedding of the letter before
it, and the layers between add little. Nothing is left to rounding, so every sound engine answers the same letters.

**Probe** (:func:`probe_model`): how far generation (one column at a time) is from prompt processing (many columns) on
the same tokens, for many tensor types with one start of the server. A ``llama`` model without attention:

* Each tensor type has its own layer, whose feed-forward weights are of this type.
* A layer reads only what the embedding wrote: its norm weighs all other channels with zero.
* A layer writes only to its own channels: all other rows of its last matrix have the scale zero.
* Of each such channel one token of the vocabulary makes a logit, in f32. So the logits of a type's tokens tell of this
  type alone. One token's logit is always zero: logits are log-probabilities less that token's.
* One more layer follows and does nothing, for the engine computes the last layer of a prompt for its last token only
  (``inp_out_ids``, ``build_llama`` in ``src/llama-build-context.cpp``).
* A cycle of tokens with a clear winner makes generation the same everywhere.

The scales of a type's last matrix are near 2e-5, and those of what it is multiplied with near 1e-3. Their product, as
that of q8_0 weights of a usual model (scale 3e-4) and activations of 0.01, is smaller than the smallest fp16 (6e-8),
which is what the aarch64 kernels of the types with 32 elements to a block take it in (``process_scales`` in
``ggml/src/iqk/iqk_gemm_legacy_quants.cpp``). Prompts have 64 tokens or more, because from 32 columns on, for q6_K from
64, the engine multiplies in another way (``is_dequant_better`` in ``iqk_mul_mat.cpp``).
"""

from __future__ import annotations

import math
import random
import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    DEFAULT_ALIGNMENT,
    MAGIC,
    TYPES,
    padded,
    tensor_bytes,
)

Tensor = tuple[str, tuple[int, ...], str, bytes]


class TypesError(ValueError):
    """These types cannot be tested, or not together."""


# --- Blocks -------------------------------------------------------------------------------------------------------


class Scale(NamedTuple):
    """A scale inside a block: where, how it is written (f16, or e8m0: a power of two), relative to ``d``."""

    at: int
    form: str = "f16"
    factor: float = 1.0


class Blocks(NamedTuple):
    """How a type keeps its scales, and the root mean square of its weights where d is 1 and all other bits random.

    A type whose rows begin with a scale has none in its blocks. Offsets are those of ``ggml/src/ggml-common.h``,
    meanings those of ``dequantize_row_*`` in ``ggml-quants.c`` and ``iqk/iqk_quantize.cpp``.
    """

    spread: float
    scales: tuple[Scale, ...] = (Scale(0),)


ROW: tuple[Scale, ...] = ()
BLOCKS = {
    "q4_0": Blocks(4.6),
    "q4_1": Blocks(4.7, (Scale(0), Scale(2, factor=-7.5))),
    "q5_0": Blocks(9.2),
    "q5_1": Blocks(9.4, (Scale(0), Scale(2, factor=-15.5))),
    "q6_0": Blocks(18.5),
    "q8_0": Blocks(74),
    "iq4_nl": Blocks(73),
    "mxfp4": Blocks(5.9, (Scale(0, "e8m0"),)),
    "q2_K": Blocks(14, (Scale(80), Scale(82, factor=1.5))),
    "q3_K": Blocks(43, (Scale(108),)),
    "q4_K": Blocks(260, (Scale(0), Scale(2, factor=7.5))),
    "q5_K": Blocks(525, (Scale(0), Scale(2, factor=15.5))),
    "q6_K": Blocks(1370, (Scale(208),)),
    "iq2_xxs": Blocks(45),
    "iq2_xs": Blocks(45),
    "iq2_s": Blocks(45),
    "iq3_xxs": Blocks(90),
    "iq3_s": Blocks(130),
    "iq4_xs": Blocks(1350),
    "iq2_k": Blocks(88),
    "iq3_k": Blocks(660),
    "iq4_k": Blocks(1350),
    "iq5_k": Blocks(1300),
    "iq6_k": Blocks(5200),
    "iq2_ks": Blocks(175, ROW),
    "iq3_ks": Blocks(330, ROW),
    "iq4_ks": Blocks(5400, ROW),
    "iq5_ks": Blocks(5200, ROW),
    "iq4_kss": Blocks(5400, ROW),
    "iq2_kl": Blocks(660, ROW),
}
# q8_0 never holds -128: kernels may take the sign of a number apart.
NOT_MINUS_128 = bytes(0x81 if byte == 0x80 else byte for byte in range(256))


def scale_bytes(value: float, form: str) -> bytes:
    """What to write of a scale, from its upper end: enough to keep its size, and no more, so that scales differ.

    Of an f16 the byte with sign, exponent and two bits of mantissa, the lower one too where the upper one is empty.
    """
    if form == "e8m0":  # kvalues_mxfp4 is doubled, so the engine halves: 2^(e-128), GGML_E8M0_TO_FP32_HALF
        return bytes([128 + round(math.log2(value))])
    low, high = struct.pack("<e", value)
    return bytes([high]) if high & 0x7F else bytes([low, high])


def random_weights(kind: str, shape: tuple[int, ...], spread: float, source: random.Random) -> bytes:
    """A tensor's data in the type ``kind``, of random blocks; ``spread`` is about the weights' root mean square.

    The scales of a tensor are alike but, where blocks have them, not the same: see :func:`scale_bytes`.
    """
    layout, traits = BLOCKS[kind], TYPES[kind]
    data = bytearray(source.getrandbits(8 * tensor_bytes(kind, shape)).to_bytes(tensor_bytes(kind, shape), "little"))
    if kind == "q8_0":
        data = data.translate(NOT_MINUS_128)
    scale = spread / layout.spread
    if traits.row_bytes:
        row = tensor_bytes(kind, shape[:1])
        form = "<e" if traits.row_bytes == 2 else "<f"
        for at, byte in enumerate(struct.pack(form, scale)):
            data[at::row] = bytes([byte]) * len(range(at, len(data), row))
    for part in layout.scales:
        written = scale_bytes(scale * part.factor, part.form)
        end = part.at + (1 if part.form == "e8m0" else 2)
        for at, byte in enumerate(written, end - len(written)):
            data[at :: traits.block_bytes] = bytes([byte]) * len(range(at, len(data), traits.block_bytes))
    return bytes(data)


def among_zeros(kind: str, shape: tuple[int, int], data: bytes, first: int) -> bytes:
    """A matrix with the rows ``data`` from number ``first`` on, and else zeros: zero bytes are zeros in all types."""
    before = first * tensor_bytes(kind, shape[:1])
    return bytes(before) + data + bytes(tensor_bytes(kind, shape) - before - len(data))


def whole_q6_k(rows: Iterable[Sequence[int]], d: float) -> bytes:
    """Rows of 256 whole numbers from -32 to 31, times ``d``, as q6_K: exact, with sub-scales of 1."""
    data = bytearray()
    for row in rows:
        codes = [value + 32 for value in row]
        low, high = bytearray(), bytearray()
        for half in (codes[:128], codes[128:]):
            low += bytes((a & 15) | (b & 15) << 4 for a, b in zip(half[:64], half[64:]))
            quarters = zip(half[:32], half[32:64], half[64:96], half[96:])
            high += bytes(a >> 4 | b >> 4 << 2 | c >> 4 << 4 | e >> 4 << 6 for a, b, c, e in quarters)
        data += low + high + b"\1" * 16 + struct.pack("<e", d)
    return bytes(data)


def floats(values: Iterable[float]) -> bytes:
    """f32, little endian."""
    numbers = array("f", values)
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        numbers.byteswap()
    return numbers.tobytes()


# --- Files --------------------------------------------------------------------------------------------------------


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(item: Any) -> bytes:
    if isinstance(item, bool):
        return struct.pack("<I?", 7, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, str):
        return struct.pack("<I", 8) + _text(item)
    if isinstance(item[0], str):
        return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(map(_text, item))
    return struct.pack(f"<IIQ{len(item)}i", 9, 5, len(item), *item)


def gguf_file(metadata: Mapping[str, Any], tensors: Sequence[Tensor]) -> bytes:
    """A GGUF file, version 3. Whole numbers are written as u32, in lists as i32. Tensors: name, shape, type, data."""
    header = MAGIC + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(_text(key) + _value(item) for key, item in metadata.items())
    data, offset = [], 0
    for name, shape, kind, content in tensors:
        if len(content) != tensor_bytes(kind, shape):
            raise ValueError(f"{name}: {len(content)} bytes of {kind} do not fill the shape {list(shape)}")
        header += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TYPES[kind].id, offset)
        data.append(content.ljust(padded(len(content), DEFAULT_ALIGNMENT), b"\0"))
        offset += len(data[-1])
    return header.ljust(padded(len(header), DEFAULT_ALIGNMENT), b"\0") + b"".join(data)


def tokenizer(tokens: Sequence[str], merge: str, end: int) -> dict[str, Any]:
    """A byte-level BPE vocabulary whose last tokens, from number ``end``, are control tokens; the first ends a text."""
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.token_type": [1] * end + [3] * (len(tokens) - end),
        "tokenizer.ggml.merges": [merge],  # the engine wants at least one
        "tokenizer.ggml.bos_token_id": end,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.padding_token_id": end,
        "tokenizer.ggml.add_bos_token": False,
    }


# --- The golden model ---------------------------------------------------------------------------------------------

LETTERS = "abcdefghijklmnopqrstuvwxyz"
GOLDEN_PROMPT = "q"
GOLDEN_ANSWER = "rstuvwxyz" + LETTERS[:17]
HIDDEN = 256  # rows must fill blocks of 256
LAYERS = 4  # the last with full attention
EXPERTS, EXPERTS_USED = 4, 2
HEADS, HEAD = 2, 256
STATE, RANK, CONV = 128, 2, 4
INNER = STATE * RANK
SPREAD = 0.02  # of the weights in the layers: what they add up to stays far below the embedding's 1
VOICE = 0.125  # of the output rows: the next letter's logit is 256 times this, all others are near 0


def byte_tokens() -> list[str]:
    """The tokens of the 256 bytes, in byte order, in the letters that byte-level BPE writes them with."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in shown}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + len(letters) - len(shown)))
    return [letters[byte] for byte in range(256)]


def signs(number: int) -> list[int]:
    """Row ``number`` of the Hadamard matrix of 256: all rows are orthogonal."""
    return [1 - 2 * (bin(number & column).count("1") % 2) for column in range(HIDDEN)]


def golden_model() -> bytes:
    """The file of the golden model. It answers GOLDEN_PROMPT with GOLDEN_ANSWER, and on and on."""
    source = random.Random(35)
    tokens = [*byte_tokens(), "<|endoftext|>"]
    a = ord("a")
    # Row 0 is all +1 and left out. Everything that is not a letter sounds like number 27, and "a" follows it.
    voices = [signs(number) for number in range(1, 28)]
    embedding = whole_q6_k(voices, 1.0)
    output = whole_q6_k([[x + y for x, y in zip(voices[25], voices[26])], *voices[:25]], VOICE)
    row = TYPES["q6_K"].block_bytes
    other, silent = embedding[26 * row :], bytes(row)
    rest = len(tokens) - a - 26
    ones = floats([1.0]) * HIDDEN
    tensors: list[Tensor] = [
        ("token_embd.weight", (HIDDEN, len(tokens)), "q6_K", other * a + embedding[: 26 * row] + other * rest),
        ("output_norm.weight", (HIDDEN,), "f32", ones),
        ("output.weight", (HIDDEN, len(tokens)), "q6_K", silent * a + output + silent * rest),
    ]

    def plain(name: str, shape: tuple[int, ...], values: Iterable[float]) -> None:
        tensors.append((name, shape, "f32", floats(values)))

    def packed(name: str, shape: tuple[int, ...], kind: str) -> None:
        tensors.append((name, shape, kind, random_weights(kind, shape, SPREAD, source)))

    square = (HIDDEN, HIDDEN)
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        tensors.append((name + "attn_norm.weight", (HIDDEN,), "f32", ones))
        tensors.append((name + "post_attention_norm.weight", (HIDDEN,), "f32", ones))
        if layer == LAYERS - 1:
            packed(name + "attn_q.weight", (HIDDEN, 2 * HEADS * HEAD), "q4_K")
            packed(name + "attn_k.weight", square, "q4_K")
            packed(name + "attn_v.weight", square, "iq4_k")
            packed(name + "attn_output.weight", (HEADS * HEAD, HIDDEN), "q8_0")
            plain(name + "attn_q_norm.weight", (HEAD,), [1.0] * HEAD)
            plain(name + "attn_k_norm.weight", (HEAD,), [1.0] * HEAD)
        else:
            channels = 2 * STATE + INNER
            packed(name + "attn_qkv.weight", (HIDDEN, channels), "q4_K")
            packed(name + "attn_gate.weight", (HIDDEN, INNER), "iq2_ks")
            convolution = (source.uniform(-0.5, 0.5) for _i in range(channels * CONV))
            plain(name + "ssm_conv1d.weight", (CONV, channels), convolution)
            plain(name + "ssm_dt.bias", (RANK,), [0.0] * RANK)
            plain(name + "ssm_a", (RANK,), [-1.0] * RANK)
            packed(name + "ssm_beta.weight", (HIDDEN, RANK), "iq2_ks")
            packed(name + "ssm_alpha.weight", (HIDDEN, RANK), "iq2_ks")
            plain(name + "ssm_norm.weight", (STATE,), [1.0] * STATE)
            packed(name + "ssm_out.weight", (INNER, HIDDEN), "iq2_ks")
        router = (source.uniform(-SPREAD, SPREAD) for _i in range(HIDDEN * EXPERTS))
        plain(name + "ffn_gate_inp.weight", (HIDDEN, EXPERTS), router)
        for part in ("gate", "up", "down"):
            packed(f"{name}ffn_{part}_exps.weight", (*square, EXPERTS), "iq4_ks" if layer < 2 else "iq2_ks")
            packed(f"{name}ffn_{part}_shexp.weight", square, "q8_0")
        plain(name + "ffn_gate_inp_shexp.weight", (HIDDEN,), (source.uniform(-SPREAD, SPREAD) for _i in range(HIDDEN)))

    space = tokens[ord(" ")]
    arch = "qwen35moe"
    metadata = {
        "general.architecture": arch,
        "general.name": "self-test, golden",
        f"{arch}.block_count": LAYERS,
        f"{arch}.context_length": 4096,
        f"{arch}.embedding_length": HIDDEN,
        f"{arch}.attention.head_count": HEADS,
        f"{arch}.attention.head_count_kv": 1,
        f"{arch}.attention.key_length": HEAD,
        f"{arch}.attention.value_length": HEAD,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-6,
        f"{arch}.rope.dimension_count": 64,
        f"{arch}.rope.dimension_sections": [11, 11, 10, 0],
        f"{arch}.rope.freq_base": 1e7,
        f"{arch}.full_attention_interval": LAYERS,
        f"{arch}.expert_count": EXPERTS,
        f"{arch}.expert_used_count": EXPERTS_USED,
        f"{arch}.expert_feed_forward_length": HIDDEN,
        f"{arch}.expert_shared_feed_forward_length": HIDDEN,
        f"{arch}.ssm.conv_kernel": CONV,
        f"{arch}.ssm.state_size": STATE,
        f"{arch}.ssm.group_count": 1,
        f"{arch}.ssm.time_step_rank": RANK,
        f"{arch}.ssm.inner_size": INNER,
        **tokenizer(tokens, f"{space} {space}", 256),
    }
    return gguf_file(metadata, tensors)


# --- The probe ----------------------------------------------------------------------------------------------------

DEFAULT_TYPES = ("q8_0", "q6_K", "q4_K", "iq4_ks", "iq2_ks", "iq4_k")
WIDTH = 512  # channels: the embedding writes to the first half, the layers to the second
BASE = 256
CYCLE = 32  # tokens that follow one another
MAX_CHANNELS = 16  # of one type
PROMPT = 64  # tokens
STEPS = 8  # tokens that are generated and compared
INNER_SPREAD = 0.012  # of the first two matrices of a layer: what comes out of them is below 0.5
OUTER_SCALE = 2e-5  # of the last matrix: the scales themselves, near this
BETWEEN = 0.04  # root mean square of what the last matrix is multiplied with, as measured
HEAD_PROBE = 64


class Probe(NamedTuple):
    """What to do with the probe: the tokens to start with, and which tokens tell of which type."""

    prompt: list[int]
    tokens: dict[str, list[int]]
    silent: int  # the token whose logit is zero
    vocabulary: int


def probe_text(steps: int) -> str:
    """What follows on the probe's prompt; PROMPT is a multiple of CYCLE."""
    return "".join(word(at % CYCLE) for at in range(steps))


def probe_plan(types: Sequence[str]) -> Probe:
    """How the probe for ``types`` is laid out. Raises TypesError for types that cannot be tested, or too many."""
    unknown = [kind for kind in types if kind not in BLOCKS]
    if unknown:
        raise TypesError(f"{', '.join(unknown)}: no self-test knows these types, only {', '.join(BLOCKS)}")
    if len(set(types)) != len(types) or not 1 <= len(types) <= BASE // 4:
        raise TypesError(f"the self-test takes 1 to {BASE // 4} types, each once")
    each = min(MAX_CHANNELS, BASE // len(types))
    tokens = {kind: list(range(CYCLE + at * each, CYCLE + (at + 1) * each)) for at, kind in enumerate(types)}
    silent = CYCLE + len(types) * each
    return Probe([at % CYCLE for at in range(PROMPT)], tokens, silent, silent + 2)


def probe_model(types: Sequence[str]) -> bytes:
    """The file of the probe for ``types``, about 0.1 to 0.4 MB for each."""
    plan = probe_plan(types)
    uniform = random.Random("marks").uniform
    marks = [[0.0] * 4 + [3 * uniform(-1, 1) * uniform(-1, 1) for _i in range(BASE - 4)] for _j in range(CYCLE)]
    # One channel outshines the others, as in real models. Without it kernels for AVX-512 saturate, which is another
    # matter (sums of four products, _mm512_packs_epi32 in compute_block, iqk_gemm_iqk_quants.cpp).
    loud = [8.0, 0.0, 0.0, 0.0]
    nothing, rest = [0.0] * (WIDTH - BASE), plan.vocabulary - CYCLE
    embedding = [loud + mark[4:] + nothing for mark in marks] + [[0.0] * WIDTH] * rest
    voice = 0.1  # the next token's logit is some 36
    output = [[voice * x for x in marks[at - 1]] + nothing for at in range(CYCLE)]
    tensors: list[Tensor] = [
        ("token_embd.weight", (WIDTH, plan.vocabulary), "f32", b"".join(map(floats, embedding))),
        ("output_norm.weight", (WIDTH,), "f32", floats([1.0]) * WIDTH),
    ]
    norm = floats([1.0]) * BASE + bytes(4 * (WIDTH - BASE))
    attention = {"q": (WIDTH, HEAD_PROBE), "k": (WIDTH, HEAD_PROBE), "v": (WIDTH, HEAD_PROBE)}
    attention["output"] = (HEAD_PROBE, WIDTH)
    for layer in range(len(types) + 1):
        name = f"blk.{layer}."
        tensors.append((name + "attn_norm.weight", (WIDTH,), "f32", norm))
        tensors.append((name + "ffn_norm.weight", (WIDTH,), "f32", norm))
        for part, shape in attention.items():
            tensors.append((f"{name}attn_{part}.weight", shape, "q4_0", bytes(tensor_bytes("q4_0", shape))))
        kind = types[layer] if layer < len(types) else "q4_0"
        inner, outer = (WIDTH, BASE), (BASE, WIDTH)
        if layer == len(types):
            for part, shape in {"gate": inner, "up": inner, "down": outer}.items():
                tensors.append((f"{name}ffn_{part}.weight", shape, kind, bytes(tensor_bytes(kind, shape))))
            continue
        source = random.Random(kind)  # so that a type's error does not depend on the other types
        for part in ("gate", "up"):
            data = random_weights(kind, inner, INNER_SPREAD, source)
            tensors.append((f"{name}ffn_{part}.weight", inner, kind, data))
        # Where a type has more than one scale to a weight, 2e-5 is what the large one is in real models.
        spread = OUTER_SCALE * BLOCKS[kind].spread if BLOCKS[kind].scales else INNER_SPREAD / 4
        tokens = plan.tokens[kind]
        first = BASE + tokens[0] - CYCLE
        data = random_weights(kind, (BASE, len(tokens)), spread, source)
        tensors.append((name + "ffn_down.weight", outer, kind, among_zeros(kind, outer, data, first)))
        # Logits of about 1: a channel is the sum of BASE products.
        for at in range(len(tokens)):
            row = [0.0] * WIDTH
            row[first + at] = 1 / (spread * BETWEEN * math.sqrt(BASE))
            output.append(row)
    output += [[0.0] * WIDTH] * 2
    tensors.append(("output.weight", (WIDTH, plan.vocabulary), "f32", b"".join(map(floats, output))))
    words = [*map(word, range(plan.silent + 1)), "<|endoftext|>"]
    metadata = {
        "general.architecture": "llama",
        "general.name": "self-test, probe",
        "llama.block_count": len(types) + 1,
        "llama.context_length": 4096,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": BASE,
        "llama.attention.head_count": 1,
        "llama.attention.head_count_kv": 1,
        "llama.attention.key_length": HEAD_PROBE,
        "llama.attention.value_length": HEAD_PROBE,
        "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.rope.dimension_count": HEAD_PROBE,
        "llama.rope.freq_base": 1e4,
        **tokenizer(words, "w 1", plan.silent + 1),
    }
    return gguf_file(metadata, tensors)


def word(token: int) -> str:
    """How a token of the probe is written."""
    return f"w{token}"
