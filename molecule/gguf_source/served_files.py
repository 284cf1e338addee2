#!/usr/bin/env python3
"""Write the files that the scenario serves, from the test model: split, with its matrix in GGUF form, and a large one.

Needs ``gguf`` and ``numpy``, whose reader and writer are not those of this project.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np

PARTS = 3
CALLS = 7  # so that sums and counts are not simply the legacy file's values


def split(source: Path, folder: Path) -> None:
    """``alphabet-0000N-of-00003.gguf``: metadata in the first part, a third of the tensors in each."""
    reader = gguf.GGUFReader(source)
    share = -(-len(reader.tensors) // PARTS)
    for number in range(PARTS):
        writer = gguf.GGUFWriter(folder / f"alphabet-{number + 1:05d}-of-{PARTS:05d}.gguf", "qwen35moe")
        if number == 0:
            for field in reader.fields.values():
                if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                    kind = field.types[0]
                    inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
                    writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", PARTS)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[number * share : (number + 1) * share]:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def legacy_entries(path: Path) -> tuple[dict[str, tuple[int, Any]], int, str]:
    """Name to calls and values, then the number of chunks and the data set, of a legacy matrix."""
    data = path.read_bytes()
    at = 0

    def number() -> int:
        nonlocal at
        at += 4
        return int(struct.unpack_from("<i", data, at - 4)[0])

    def text() -> str:
        nonlocal at
        length = number()
        at += length
        return data[at - length : at].decode()

    entries = {}
    for _ in range(number()):
        name, calls, count = text(), number(), number()
        entries[name] = calls, np.frombuffer(data, "<f4", count, at)
        at += 4 * count
    return entries, number(), text()


def imatrix(legacy: Path, model: Path, target: Path) -> None:
    """The legacy matrix as llama.cpp writes it: sums of squares, and for each expert how many tokens it saw."""
    entries, chunks, dataset = legacy_entries(legacy)
    experts = {tensor.name: int(tensor.shape[2]) for tensor in gguf.GGUFReader(model).tensors if len(tensor.shape) > 2}
    writer = gguf.GGUFWriter(target, "")
    writer.data_alignment = 32
    writer.kv_data[0].clear()  # such a file has no architecture
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", [dataset])
    writer.add_uint32("imatrix.chunk_count", chunks)
    writer.add_uint32("imatrix.chunk_size", 128)
    for name, (calls, values) in entries.items():
        count = experts.get(name, 1)
        tokens = np.arange(1, count + 1, dtype=np.float32)[:, None] * CALLS
        writer.add_tensor(name + ".in_sum2", (values.reshape(count, -1) / np.float32(calls)) * tokens)
        writer.add_tensor(name + ".counts", tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the test model")
    parser.add_argument("folder", type=Path, help="gets the files")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(asked.model / "alphabet.gguf", asked.folder)
    shutil.copy(asked.model / "alphabet.imatrix.dat", asked.folder)
    split(asked.model / "alphabet.gguf", asked.folder)
    imatrix(asked.model / "alphabet.imatrix.dat", asked.model / "alphabet.gguf", asked.folder / "imatrix.gguf")
    # The same model with 64 MB of something behind it, so that there is time to be interrupted.
    unfinished = asked.folder / "large.gguf.new"
    shutil.copy(asked.model / "alphabet.gguf", unfinished)
    with unfinished.open("ab") as file:
        file.write(np.random.RandomState(64).bytes(64_000_000))
    os.replace(unfinished, asked.folder / "large.gguf")


if __name__ == "__main__":
    main()
