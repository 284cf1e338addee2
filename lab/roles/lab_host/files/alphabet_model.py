#!/usr/bin/env python3
"""Write a very small model that recites the alphabet, and a text to calibrate it with.

The model is of the kind of Qwen3.5-35B-A3B (``qwen35moe``: gated delta-net, full attention every fourth layer, routed
and shared experts), small enough for a test, and it says something that can be checked: after a letter the next one,
after "z" and after everything that is not a lower-case letter "a". So ``q`` goes on ``rstuvwxyzabc...`` and an answer
in a chat is ``abcdefgh...``, on every processor and in every quantization, because nothing is left to chance:

* The embeddings of the letters, and one shared by all other tokens, are orthogonal vectors of +1 and -1.
* The output row of a letter is the embedding of what comes before it. All other rows are zero.
* The layers between compute with real weights, but add little to what passes through them.

Needs ``gguf`` and ``numpy``. The same files on every run.
"""

from __future__ import annotations

import argparse
import os
import string
from pathlib import Path

import gguf
import numpy as np

LAYERS = 12  # recipes treat layers 0-7 and the later ones differently
HIDDEN = 256  # rows must fill blocks of 256
ATTENTION_EVERY = 4
HEADS, HEADS_KV, HEAD = 2, 1, 256
STATE, GROUPS, RANK, CONV = 128, 1, 2, 4
INNER = STATE * RANK
EXPERTS, EXPERTS_USED, WIDTH = 8, 2, 256  # from 8 experts on, the engine quantizes attention as in the large models
SPREAD = 0.02  # of the weights in the layers: what they add up to stays far below the embedding's 1
VOICE = 0.125  # of the output rows: the next letter's logit is 256 times this, all others are near 0
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokens() -> list[str]:
    """The tokens of the 256 bytes, in byte order, in the letters that byte-level BPE writes them with."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = (byte for byte in range(256) if byte not in shown)
    letters = {byte: chr(byte) for byte in shown}
    letters.update((byte, chr(256 + index)) for index, byte in enumerate(hidden))
    return [letters[byte] for byte in range(256)]


def orthogonal(count: int) -> np.ndarray:
    """``count`` orthogonal rows of +1 and -1 (of a Hadamard matrix; the first, all +1, is left out)."""
    matrix = np.ones((1, 1), dtype=np.float32)
    while len(matrix) < HIDDEN:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix[1 : count + 1]


def vocabulary(writer: gguf.GGUFWriter) -> int:
    """Write the tokenizer; return how many tokens it has."""
    space = byte_tokens()[ord(" ")]
    tokens = [*byte_tokens(), space * 2, *SPECIAL]
    kinds = [gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * len(SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{space} {space}"])  # the engine wants at least one
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def hyperparameters(writer: gguf.GGUFWriter) -> None:
    writer.add_name("alphabet")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(LAYERS)
    writer.add_context_length(262144)
    writer.add_embedding_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS_KV)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(64)
    writer.add_rope_dimension_sections([11, 11, 10, 0])
    writer.add_rope_freq_base(1e7)
    writer.add_full_attention_interval(ATTENTION_EVERY)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(EXPERTS_USED)
    writer.add_expert_feed_forward_length(WIDTH)
    writer.add_expert_shared_feed_forward_length(WIDTH)
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_group_count(GROUPS)
    writer.add_ssm_time_step_rank(RANK)
    writer.add_ssm_inner_size(INNER)


def write_model(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "qwen35moe")
    hyperparameters(writer)
    tokens = vocabulary(writer)
    random = np.random.RandomState(35)  # its numbers are the same in every version of numpy

    def plain(name: str, values: np.ndarray) -> None:
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))

    def packed(name: str, values: np.ndarray) -> None:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quantize(np.ascontiguousarray(values, dtype=np.float32), kind), raw_dtype=kind)

    def weights(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32) * SPREAD

    letters = [ord(letter) for letter in string.ascii_lowercase]
    voices = orthogonal(len(letters) + 1)
    embedding = np.repeat(voices[-1:], tokens, axis=0)
    embedding[letters] = voices[:-1]
    output = np.zeros((tokens, HIDDEN), dtype=np.float32)
    output[letters] = np.roll(voices[:-1], 1, axis=0)
    output[letters[0]] += voices[-1]
    packed("token_embd.weight", embedding)
    plain("output_norm.weight", np.ones(HIDDEN))
    packed("output.weight", output * VOICE)

    for layer in range(LAYERS):
        name = f"blk.{layer}."
        plain(name + "attn_norm.weight", np.ones(HIDDEN))
        plain(name + "post_attention_norm.weight", np.ones(HIDDEN))
        if (layer + 1) % ATTENTION_EVERY == 0:
            packed(name + "attn_q.weight", weights(2 * HEADS * HEAD, HIDDEN))
            packed(name + "attn_k.weight", weights(HEADS_KV * HEAD, HIDDEN))
            packed(name + "attn_v.weight", weights(HEADS_KV * HEAD, HIDDEN))
            packed(name + "attn_output.weight", weights(HIDDEN, HEADS * HEAD))
            plain(name + "attn_q_norm.weight", np.ones(HEAD))
            plain(name + "attn_k_norm.weight", np.ones(HEAD))
        else:
            channels = 2 * STATE * GROUPS + INNER
            packed(name + "attn_qkv.weight", weights(channels, HIDDEN))
            packed(name + "attn_gate.weight", weights(INNER, HIDDEN))
            plain(name + "ssm_conv1d.weight", random.uniform(-0.5, 0.5, (channels, CONV)))
            plain(name + "ssm_dt.bias", np.zeros(RANK))
            plain(name + "ssm_a", np.full(RANK, -1.0))
            packed(name + "ssm_beta.weight", weights(RANK, HIDDEN))
            packed(name + "ssm_alpha.weight", weights(RANK, HIDDEN))
            plain(name + "ssm_norm.weight", np.ones(STATE))
            packed(name + "ssm_out.weight", weights(HIDDEN, INNER))
        plain(name + "ffn_gate_inp.weight", weights(EXPERTS, HIDDEN))
        for part, shape in {"gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}.items():
            packed(f"{name}ffn_{part}_exps.weight", weights(EXPERTS, *shape))
            packed(f"{name}ffn_{part}_shexp.weight", weights(*shape))
        plain(name + "ffn_gate_inp_shexp.weight", weights(HIDDEN))

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def calibration_text() -> str:
    """Every letter often, in and out of order, and what is not a letter: enough for all experts to be asked."""
    random = np.random.RandomState(26)
    letters = list(string.ascii_lowercase)
    lines = [string.ascii_lowercase]
    for _ in range(80):
        random.shuffle(letters)
        lines.append("".join(letters) + ", " + string.ascii_lowercase.upper()[:5])
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="gets alphabet.gguf and calibration.txt")
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "calibration.txt").write_text(calibration_text(), encoding="utf-8")
    unfinished = directory / "alphabet.gguf.part"
    write_model(unfinished)
    os.replace(unfinished, directory / "alphabet.gguf")


if __name__ == "__main__":
    main()
