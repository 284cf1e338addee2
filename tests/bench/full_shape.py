#!/usr/bin/env python3
"""Write a GGUF file with the true header and the true shapes of Qwen3.5-35B-A3B, and a hole where the weights would be.

The hole costs no disk, so that sizes, memory and transfers can be measured without 37 GB of weights::

    tests/bench/full_shape.py q8_0.gguf                        # 36.9 GB, of which 13 MB are there
    tests/bench/full_shape.py card.gguf --recipe roles/gguf_quantize/files/recipes/rpi5-16gb-card.yml
    tests/bench/full_shape.py q4_k_m.gguf --file-type Q4_K_M   # the engine's own choices, without a matrix
    tests/bench/full_shape.py small.gguf --layers 2 --filled   # 2.8 GB of weights that can really be quantized

Names and shapes are what ik_llama.cpp looks for (``src/llama-load-tensors.cpp``, ``src/llama-hparams.cpp``). The words
of the vocabulary are made up, but as many and about as long as the real ones, so that the header has its true size.
Needs ``gguf`` and ``numpy``. The same file on every run.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

import gguf
import numpy as np
import yaml

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "verify"))
import project_collection  # noqa: E402, F401

sys.path[:0] = [str(PROJECT / "tests/unit"), str(PROJECT / "lab/roles/lab_host/files")]

from alphabet_model import CHAT_TEMPLATE, SPECIAL, byte_tokens  # noqa: E402
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.file_type import own_choices  # noqa: E402
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import TYPES, Tensor, padded, tensor_bytes  # noqa: E402
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import (  # noqa: E402
    load_recipe,
    plain,
    predict_type,
    quantizable,
)
from gguf_files import QWEN35_METADATA, qwen35_tensors  # noqa: E402

LAYERS = 40
VOCABULARY = 248320
PIECE = 8 << 20  # bytes of weights made up at once


def words() -> tuple[list[str], list[str]]:
    """A byte-level BPE vocabulary: tokens, and merges that each put two earlier tokens together."""
    generator = random.Random(35)
    tokens = byte_tokens()
    known = set(tokens)
    merges: list[str] = []
    while len(tokens) < VOCABULARY - len(SPECIAL):
        # Long words are made of long ones, as in real vocabularies; seven letters on average.
        left, right = (tokens[int(len(tokens) * generator.random() ** 3)] for _ in range(2))
        if left + right not in known and len(left + right) <= 16:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")
    return [*tokens, *SPECIAL], merges


def write_header(writer: gguf.GGUFWriter, layers: int) -> None:
    writer.add_name("Qwen3.5-35B-A3B in its true shapes, without its weights")
    for key, value in QWEN35_METADATA.items():
        if key != "general.architecture":  # the writer does that one
            writer.add_uint32(key, layers if key.endswith(".block_count") else value)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(64)
    writer.add_rope_dimension_sections([11, 11, 10, 0])
    writer.add_rope_freq_base(1e7)
    writer.add_expert_feed_forward_length(512)
    writer.add_expert_shared_feed_forward_length(512)
    tokens, merges = words()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.NORMAL] * (VOCABULARY - len(SPECIAL)) + [gguf.TokenType.CONTROL] * len(SPECIAL)
    )
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def tensors(kind: str, layers: int, recipe: Path | None, file_type: str) -> list[Tensor]:
    """The tensors of the model, all of ``kind``, or each as ``recipe`` or the engine for ``file_type`` has it."""
    found = [
        item
        for item in qwen35_tensors(kind)
        if not item.name.startswith("blk.") or int(item.name.split(".")[1]) < layers
    ]
    if recipe:
        data = load_recipe(yaml.safe_load(recipe.read_text(encoding="utf-8")))
        found = [Tensor(item.name, item.shape, predict_type(data, item)) for item in found]
    if file_type:
        bare = plain(file_type, "qwen35moe")
        default = predict_type(bare, Tensor("x.weight", (256, 256), kind))
        own = own_choices(file_type, default, filter(quantizable, found), layers, True, False)
        found = [Tensor(item.name, item.shape, predict_type(bare, item, own.get(item.name, ""))) for item in found]
    return found


def piece_of(kind: str) -> bytes:
    """Made-up weights of about PIECE bytes, of ordinary size, in whole blocks; of ``q8_0`` or ``f32``."""
    generator = np.random.RandomState(35)
    if kind == "f32":
        return bytes((generator.standard_normal(PIECE // 4) * 0.02).astype("<f4").tobytes())
    if kind == "q8_0":
        values = (generator.standard_normal((PIECE // 32, 32)) * 0.02).astype(np.float32)
        return bytes(gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0).tobytes())
    raise SystemExit(f"--filled is for q8_0, and not for {kind}")


def write_weights(path: Path, start: int, kinds: list[Tensor]) -> None:
    """Fill the hole."""
    pieces = {kind: piece_of(kind) for kind in {item.type for item in kinds}}
    with path.open("r+b") as file:
        file.seek(start)
        for item in kinds:
            left = tensor_bytes(item.type, item.shape)
            rest = padded(left, 32) - left
            while left:
                left -= file.write(pieces[item.type][:left])
            file.seek(rest, os.SEEK_CUR)


def write(path: Path, kind: str, layers: int, recipe: Path | None, file_type: str, filled: bool) -> None:
    writer = gguf.GGUFWriter(path, "qwen35moe")
    write_header(writer, layers)
    found = tensors(kind, layers, recipe, file_type)
    for item in found:
        size = tensor_bytes(item.type, item.shape)
        # Shapes turned round, as numpy has them. The writer passes on numbers of types that it does not know.
        writer.add_tensor_info(item.name, item.shape[::-1], np.dtype(np.float32), size, TYPES[item.type].id)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    start = padded(path.stat().st_size, 32)
    os.truncate(path, start + sum(padded(tensor_bytes(item.type, item.shape), 32) for item in found))
    if filled:
        write_weights(path, start, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--type", default="q8_0", help="of all tensors that can be quantized (q8_0)")
    parser.add_argument("--recipe", type=Path, help="give each tensor the type it has by this recipe")
    parser.add_argument("--file-type", default="", help="give each tensor the type that the engine chooses")
    parser.add_argument("--layers", type=int, default=LAYERS, help="how many of the 40 layers (all)")
    parser.add_argument("--filled", action="store_true", help="write made-up weights instead of the hole")
    asked = parser.parse_args()
    unfinished = asked.path.with_name(asked.path.name + ".part")
    write(unfinished, asked.type, asked.layers, asked.recipe, asked.file_type, asked.filled)
    unfinished.replace(asked.path)
    print(f"{asked.path}: {asked.path.stat().st_size} bytes, {asked.path.stat().st_blocks * 512} of them on disk")


if __name__ == "__main__":
    main()
