from __future__ import annotations

import io
import struct
import time
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    MAX_ARRAY,
    TYPES,
    TYPES_BY_ID,
    Array,
    GGUFError,
    Header,
    Tensor,
    file_bytes,
    read_header,
    tensor_bytes,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import ImatrixError, read_imatrix
from gguf.constants import GGML_QUANT_SIZES
from gguf_files import QWEN35_METADATA, header_bytes, qwen35_tensors, stream, text
from hypothesis import given, settings
from hypothesis import strategies as st
from naming import unnamed

TENSORS = [Tensor("a.weight", (256, 3), "iq2_ks"), Tensor("b", (5,), "f32")]
GOOD = header_bytes(
    {"general.architecture": "x", "n": 3, "f": 0.5, "yes": True, "list": [1, -2], "words": ["a", "bc"]}, TENSORS
)


@pytest.mark.parametrize(
    ("name", "elements", "size"),
    [
        ("q8_0", 2048, 34 * 2048 // 32),
        ("q6_K", 2048, 210 * 8),
        ("q4_K", 2048, 144 * 8),
        ("iq4_k", 2048, 144 * 8),
        ("iq4_ks", 2048, 136 * 8 + 4),
        ("iq2_ks", 2048, 70 * 8 + 2),
        ("f32", 7, 28),
        ("i2_s", 64, 48),
    ],
)
def test_bytes_per_row(name: str, elements: int, size: int) -> None:
    assert tensor_bytes(name, (elements,)) == size
    if name != "i2_s":
        assert tensor_bytes(name, (elements, 3, 2)) == 6 * size


def test_types_agree_with_the_gguf_package() -> None:
    shared = {kind.value: sizes for kind, sizes in GGML_QUANT_SIZES.items() if kind.value in TYPES_BY_ID}
    assert len(shared) > 30
    for number, sizes in shared.items():
        assert (TYPES_BY_ID[number].block, TYPES_BY_ID[number].block_bytes) == sizes, TYPES_BY_ID[number].name


def test_engine_types_have_their_numbers() -> None:
    numbers = {"iq4_k": 139, "iq6_k": 141, "iq4_ks": 144, "iq2_ks": 145, "iq5_ks": 152, "iq3_ks": 156}
    assert {name: TYPES[name].id for name in numbers} == numbers
    assert len(TYPES) == len(TYPES_BY_ID)


@pytest.mark.parametrize("version", [2, 3])
def test_reads_what_was_written(version: int) -> None:
    metadata = {
        "general.architecture": "qwen35moe",
        "list": [3, 4],
        "words": ["x"] * 9,
        "long": list(range(5000)),
        "z": 1,
    }
    header = read_header(stream(metadata, TENSORS, version=version))
    assert header.version == version
    assert header.architecture == "qwen35moe"
    assert header.metadata == {**metadata, "words": Array(9), "long": Array(5000)}
    assert [(item.name, item.shape, item.type) for item in header.tensors] == [
        (item.name, item.shape, item.type) for item in TENSORS
    ]
    assert header.tensors[1].offset == 224  # 3 rows of 72 bytes, filled up
    assert header.tensor_bytes == 216 + 20
    assert header.data_start % 32 == 0
    # Each entry's size as it stands in the file, and so the size of the whole.
    infos = sum(8 + len(item.name) + 4 + 8 * len(item.shape) + 12 for item in TENSORS)
    assert file_bytes(24 + sum(header.entry_bytes.values()) + infos, [216, 20]) == header.data_start + 224 + 32


def test_a_long_array_is_walked_over_without_being_read() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    data = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + text("numbers") + struct.pack("<IIQ", 9, 10, MAX_ARRAY)
    file = Counting(data + bytes(8 * MAX_ARRAY))
    assert read_header(file).metadata == {"numbers": Array(MAX_ARRAY)}
    assert file.taken <= 1 << 20


def test_full_size_header_is_read_quickly() -> None:
    metadata = {
        **QWEN35_METADATA,
        "tokenizer.ggml.tokens": ["token"] * 248320,
        "tokenizer.ggml.merges": ["a b"] * 247587,
    }
    file = stream(metadata, qwen35_tensors())
    start = time.process_time()
    assert len(read_header(file).tensors) == 733
    assert time.process_time() - start < 5


def header_start(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", version, tensors, keys)


def tensor_info(name: bytes = b"t", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    data = struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return data + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("data", "code", "names"),
    [
        (b"", "truncated", []),
        (b"GGU", "truncated", []),
        (b"PK\3\4" + bytes(99), "magic", []),
        (header_start(version=1), "version", [1]),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "byte-order", []),
        (header_start(tensors=1 << 40), "counts", [1 << 40, 0]),
        (header_start(keys=1 << 40), "counts", [0, 1 << 40]),
        (header_start(keys=1) + struct.pack("<Q", 1 << 60), "length", [1 << 60]),
        (header_start(keys=1) + text("k") + struct.pack("<I", 99), "value-type", ["k", 99]),
        (header_start(keys=1) + text("k") + struct.pack("<IQ", 8, 1 << 60), "length", ["k", 1 << 60]),
        (header_start(keys=1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 60), "array", ["k", 1 << 60]),
        (header_start(keys=1) + text("k") + struct.pack("<IIQQ", 9, 8, 9, 1 << 60), "string", ["k", 1 << 60]),
        (header_start(keys=1) + text("k") + struct.pack("<IIQQ", 9, 8, 2, 1 << 60), "length", ["k", 1 << 60]),
        (header_start(keys=1) + text("k") + struct.pack("<IIQ", 9, 9, 1), "array-type", ["k", 9]),
        (header_start(keys=2) + (text("k") + struct.pack("<II", 4, 1)) * 2, "key-twice", ["k"]),
        (header_start(keys=1) + struct.pack("<Q", 2) + b"\xff\xfe", "encoding", []),
        (
            header_start(keys=1) + text("general.alignment") + struct.pack("<II", 4, 33),
            "alignment",
            ["general.alignment", 33],
        ),
        (
            header_start(keys=1) + text("general.alignment") + struct.pack("<II", 4, 0),
            "alignment",
            ["general.alignment", 0],
        ),
        (header_start(1) + tensor_info(shape=()), "dimensions", ["t", 0]),
        (header_start(1) + tensor_info(shape=(1,) * 5), "dimensions", ["t", 5]),
        (header_start(1) + tensor_info(shape=(32, 0)), "shape", ["t", 32, 0]),
        (header_start(1) + tensor_info(shape=(1 << 40, 1 << 40)), "shape", ["t", 1 << 40]),
        (header_start(1) + tensor_info(kind=4), "tensor-type", ["t", 4]),
        (header_start(1) + tensor_info(shape=(33,), kind=8), "row", ["t", 33, 32]),
        (header_start(1) + tensor_info(offset=1), "offset", ["t"]),
        (header_start(2) + tensor_info() * 2, "tensor-twice", []),
        (header_start(2) + tensor_info(b"a") + tensor_info(b"b"), "overlap", ["b", "a"]),
        (header_start(1) + tensor_info(b"x" * 64), "length", [64]),
    ],
)
def test_damage_is_named(data: Any, code: str, names: list[Any]) -> None:
    with pytest.raises(GGUFError) as caught:
        read_header(io.BytesIO(data))
    assert caught.value.code == code
    assert unnamed(caught.value, *names) == []


def test_a_file_that_is_cut_off() -> None:
    whole = len(GOOD) + 224 + 20
    assert read_header(io.BytesIO(GOOD), whole).tensors
    with pytest.raises(GGUFError) as caught:
        read_header(io.BytesIO(GOOD), whole - 1)
    assert caught.value.code == "cut-off"
    assert unnamed(caught.value, whole, whole - 1) == []


def readable(data: bytes) -> None:
    """Damage is found as GGUFError, or the header makes sense; nothing else happens, and not for long."""
    start = time.process_time()
    try:
        assert isinstance(read_header(io.BytesIO(data)), Header)
    except GGUFError as error:
        assert str(error)
    assert time.process_time() - start < 10


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_headers(data: Any) -> None:
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        length = data.draw(st.integers(1, 8))
        damaged[at : at + length] = data.draw(st.binary(min_size=length, max_size=length))
    readable(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    readable(bytes(damaged))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(data: Any) -> None:
    readable(data)
    readable(header_start(1, 1) + data)


def imatrix_bytes(entries: dict[str, int], tail: bytes = b"") -> bytes:
    data = struct.pack("<i", len(entries))
    for name, values in entries.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, values) + bytes(4 * values)
    return data + tail


@pytest.mark.parametrize(
    ("tail", "wanted"), [(b"", (2, 0, "")), (struct.pack("<ii", 7, 5) + b"a.txt", (2, 7, "a.txt"))]
)
def test_imatrix(tail: bytes, wanted: Any) -> None:
    data = imatrix_bytes({"a": 3, "b": 9}, tail)
    assert read_imatrix(io.BytesIO(data), len(data)) == (*wanted, {"a": 3, "b": 9}, 0)


@pytest.mark.parametrize("data", [b"", b"GGUF" + bytes(99), bytes(20), b"\xff" * 40, imatrix_bytes({"a": 3})[:-1]])
def test_wrong_imatrix(data: Any) -> None:
    with pytest.raises(ImatrixError):
        read_imatrix(io.BytesIO(data), len(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_imatrix(data: Any) -> None:
    try:
        read_imatrix(io.BytesIO(data), len(data))
    except ImatrixError as error:
        assert str(error)
