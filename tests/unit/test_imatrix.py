"""Importance matrices in both forms, and from the one to the other."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import (
    Imatrix,
    ImatrixError,
    entries_without_data,
    is_gguf,
    read_imatrix,
    write_legacy,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix_store import WrongSum, known_legacy, legacy
from hypothesis import given, settings
from hypothesis import strategies as st
from naming import unnamed

DENSE = np.array([[4.0, 8.0, 12.0, 16.0]], dtype=np.float32)
EXPERTS = np.array([[1.0, 2.0], [30.0, 60.0], [0.0, 0.0]], dtype=np.float32)


def write(path: Path, tensors: dict[str, Any], **metadata: Any) -> bytes:
    """A matrix in GGUF form, by another program's writer."""
    writer = gguf.GGUFWriter(path, "")
    writer.kv_data[0].clear()
    for key, value in {"general.type": "imatrix", "imatrix.chunk_count": 20, **metadata}.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_uint32(key, value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


GOOD = {
    "a.weight.in_sum2": DENSE,
    "a.weight.counts": np.array([[4.0]], dtype=np.float32),
    "e.weight.in_sum2": EXPERTS,
    "e.weight.counts": np.array([[1.0], [3.0], [0.0]], dtype=np.float32),
    "idle.weight.in_sum2": DENSE,
    "idle.weight.counts": np.array([[0.0]], dtype=np.float32),
}


def entries(data: bytes) -> dict[str, tuple[int, list[float]]]:
    """What load_imatrix of the engine reads: calls and values by name."""
    at, found = 4, {}
    for _ in range(struct.unpack_from("<i", data)[0]):
        (length,) = struct.unpack_from("<i", data, at)
        name = data[at + 4 : at + 4 + length].decode()
        at += 4 + length
        calls, count = struct.unpack_from("<ii", data, at)
        found[name] = calls, list(struct.unpack_from(f"<{count}f", data, at + 8))
        at += 8 + 4 * count
    return found


def test_from_gguf_to_legacy(tmp_path: Path) -> None:
    data = write(tmp_path / "i.gguf", GOOD, **{"imatrix.datasets": ["wiki.txt"], "imatrix.chunk_size": 512})
    assert is_gguf(io.BytesIO(data))
    out = io.BytesIO()
    wanted = Imatrix(2, 20, "wiki.txt", {"a.weight": 4, "e.weight": 6})
    assert read_imatrix(io.BytesIO(data), len(data)) == wanted
    assert write_legacy(io.BytesIO(data), len(data), out) == wanted
    legacy = out.getvalue()
    assert not is_gguf(io.BytesIO(legacy))
    assert read_imatrix(io.BytesIO(legacy), len(legacy)) == wanted
    # Each expert by the tokens that it saw; the one that saw none weighs alike; a tensor that nobody asked is left out.
    assert entries(legacy) == {"a.weight": (1, [1, 2, 3, 4]), "e.weight": (1, [1, 2, 10, 20, 1, 1])}


@pytest.mark.parametrize(
    ("changes", "metadata", "code", "names"),
    [
        ({}, {"general.type": "model"}, "kind", ["model"]),
        ({}, {"general.architecture": "llama", "general.type": "model"}, "kind", ["model"]),
        ({"a.weight.counts": None}, {}, "no-counts", ["a.weight.in_sum2"]),
        ({"a.weight.in_sum2": None}, {}, "no-sums", ["a.weight.counts"]),
        ({"other": DENSE}, {}, "neither", ["other"]),
        ({"a.weight.counts": np.array([[1.0], [1.0]], dtype=np.float32)}, {}, "form", ["a.weight.in_sum2", "f32"]),
        ({"a.weight.in_sum2": DENSE.astype(np.float16)}, {}, "form", ["a.weight.in_sum2", "f16"]),
        ({"a.weight.counts": np.array([[-1.0]], dtype=np.float32)}, {}, "counts", ["a.weight.in_sum2"]),
        ({"a.weight.counts": np.array([[np.nan]], dtype=np.float32)}, {}, "counts", ["a.weight.in_sum2"]),
        ({"a.weight.in_sum2": -DENSE}, {}, "sums", ["a.weight"]),
        ({"a.weight.in_sum2": DENSE * np.float32(np.inf)}, {}, "sums", ["a.weight"]),
        ({"a.weight.in_sum2": DENSE * np.float32(np.nan)}, {}, "sums", ["a.weight"]),
        ({}, {"imatrix.chunk_count": "many"}, "number", ["imatrix.chunk_count", "many"]),
        ({}, {"imatrix.datasets": ["x" * 5000]}, "dataset", [4096]),
    ],
)
def test_what_is_no_importance_matrix(tmp_path: Path, changes: Any, metadata: Any, code: str, names: list[Any]) -> None:
    tensors = {name: values for name, values in {**GOOD, **changes}.items() if values is not None}
    data = write(tmp_path / "i.gguf", tensors, **metadata)
    with pytest.raises(ImatrixError) as caught:
        write_legacy(io.BytesIO(data), len(data), io.BytesIO())
    assert caught.value.code == code
    assert unnamed(caught.value, *names) == []


def test_nothing_in_it(tmp_path: Path) -> None:
    data = write(tmp_path / "i.gguf", {name: values for name, values in GOOD.items() if name.startswith("idle")})
    with pytest.raises(ImatrixError) as caught:
        read_imatrix(io.BytesIO(data), len(data))
    assert caught.value.code == "empty"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("matrix") / "i.gguf", GOOD, **{"imatrix.datasets": ["wiki.txt"]})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_matrices(good: bytes, data: Any) -> None:
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    try:
        write_legacy(io.BytesIO(damaged), len(damaged), io.BytesIO())
    except ImatrixError as error:
        assert str(error)


def test_once_for_each_content(tmp_path: Path) -> None:
    path, root = tmp_path / "m.gguf", tmp_path / "models"
    write(path, GOOD)
    target, changed = legacy(path, "", root, True)
    assert (changed, root.exists()) == (True, False)
    assert known_legacy(path, root) is None
    assert legacy(path, "", root, False) == (target, True)
    assert (target.name, sorted(item.name for item in target.parent.iterdir())) == ("m.dat", ["m.dat"])
    assert legacy(path, "", root, False) == (target, False)
    assert legacy(target, "", root, False) == (target, False)
    assert (known_legacy(path, root), known_legacy(target, root)) == (target, target)
    with pytest.raises(WrongSum) as caught:
        legacy(path, "0" * 64, root, False)
    assert unnamed(caught.value, hashlib.sha256(path.read_bytes()).hexdigest(), "0" * 64) == []
    write(path, {**GOOD, "other": DENSE})
    with pytest.raises(ImatrixError):
        legacy(path, "", root, False)
    assert [item.name for item in (root / ".sources").rglob("*.dat")] == ["m.dat"]


def dat(entries: dict[str, tuple[int, list[float]]], tail: bytes = b"", count: int | None = None) -> bytes:
    """A matrix in legacy form: calls and values by name."""
    data = struct.pack("<i", len(entries) if count is None else count)
    for name, (calls, values) in entries.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values))
        data += struct.pack(f"<{len(values)}f", *values)
    return data + tail


PLAIN = {"a.weight": (20, [1.0, 2.0, 0.0]), "b.weight": (20, [3.0])}
END = struct.pack("<ii", 20, 8) + b"wiki.txt"


def test_what_the_engine_reads_is_read() -> None:
    """Calls of 0, as its own converter writes them, an entry that comes twice, and what follows the end."""
    twice = dat({**PLAIN, "c.weight": (0, [5.0, 6.0])}, END)
    again = dat({"a.weight": (1, [7.0])})[4:]
    data = struct.pack("<i", 4) + twice[4 : -len(END)] + again + END + b"what was appended"
    read = read_imatrix(io.BytesIO(data), len(data))
    assert read == Imatrix(3, 20, "wiki.txt", {"a.weight": 1, "b.weight": 1, "c.weight": 2}, 17)
    assert entries_without_data(io.BytesIO(data), len(data)) == set()


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf, -1.0, -1e-30])
def test_values_that_cannot_be_are_named(value: float) -> None:
    """Wherever they are in the file, also behind what is held at a time."""
    for place in (0, 299_999):
        values = [1.0] * 300_000
        values[place] = value
        data = dat({**PLAIN, "bad.weight": (1, values)}, END)
        with pytest.raises(ImatrixError) as caught:
            entries_without_data(io.BytesIO(data), len(data))
        assert caught.value.code == "values"
        assert unnamed(caught.value, "bad.weight", f"{value:g}") == []


def test_values_that_can_be() -> None:
    """The smallest and the largest float, both zeros, and entries of nothing but zeros, which hold no data."""
    largest, smallest = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)
    data = dat({"edge.weight": (1, [largest, smallest, -0.0]), "zero.weight": (20, [0.0] * 300_000)}, END)
    assert entries_without_data(io.BytesIO(data), len(data)) == {"zero.weight"}


def test_values_of_the_gguf_form(tmp_path: Path) -> None:
    data = write(tmp_path / "i.gguf", {**GOOD, "a.weight.in_sum2": DENSE * 0})
    assert entries_without_data(io.BytesIO(data), len(data)) == {"a.weight"}
    data = write(tmp_path / "n.gguf", {**GOOD, "e.weight.in_sum2": EXPERTS * np.float32(np.nan)})
    with pytest.raises(ImatrixError) as caught:
        entries_without_data(io.BytesIO(data), len(data))
    assert caught.value.code == "values"
    assert unnamed(caught.value, "e.weight") == []


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", []),
        (b"\n  <html>", []),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', []),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", ["git lfs pull"]),
        (b"Entry not found", ["Entry not found"]),
        (b'{"error": "Invalid credentials"}', ["Invalid credentials"]),
        ("Überfüllt: später".encode(), []),
        (b"x" * 5000, []),
    ],
)
def test_a_text_is_called_one(data: bytes, names: list[str]) -> None:
    with pytest.raises(ImatrixError) as caught:
        read_imatrix(io.BytesIO(data), len(data))
    assert caught.value.code == "text"
    assert unnamed(caught.value, *names) == []
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("cut", range(1, len(dat(PLAIN, END))))
def test_a_file_that_was_cut_off_anywhere(cut: int) -> None:
    data = dat(PLAIN, END)[:-cut]
    if cut == len(END):
        assert read_imatrix(io.BytesIO(data), len(data)).dataset == ""
        return
    with pytest.raises(ImatrixError):
        read_imatrix(io.BytesIO(data), len(data))


class Counted(io.BytesIO):
    """A file that refuses to give more than a little at a time."""

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None and 0 <= size <= 1 << 20
        return super().read(size)


HUGE = (1 << 31) - 1


@pytest.mark.parametrize(
    "data",
    [
        dat(PLAIN, count=HUGE),
        dat(PLAIN, count=65536),
        dat(PLAIN, count=-1),
        struct.pack("<ii", 1, HUGE) + b"a.weight" * 9,
        struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, HUGE) + bytes(99),
        struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, -1) + bytes(99),
        dat(PLAIN, struct.pack("<ii", 20, HUGE)),
        dat(PLAIN, struct.pack("<ii", 20, -1)),
    ],
)
def test_counts_that_no_memory_could_hold(data: bytes) -> None:
    for read in (read_imatrix, entries_without_data):
        with pytest.raises(ImatrixError):
            read(Counted(data), len(data))
