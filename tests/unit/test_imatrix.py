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
    is_gguf,
    read_imatrix,
    write_legacy,
)
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
    wanted = Imatrix(2, 20, "wiki.txt")
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


def test_once_for_each_content(plugin: Any, tmp_path: Path) -> None:
    code = plugin("modules", "imatrix_legacy")
    path, root = tmp_path / "m.gguf", tmp_path / "models"
    write(path, GOOD)
    target, changed = code.legacy(path, "", root, True)
    assert (changed, root.exists()) == (True, False)
    assert code.legacy(path, "", root, False) == (target, True)
    assert (target.name, sorted(item.name for item in target.parent.iterdir())) == ("m.dat", ["m.dat"])
    assert code.legacy(path, "", root, False) == (target, False)
    assert code.legacy(target, "", root, False) == (target, False)
    with pytest.raises(code.WrongSum) as caught:
        code.legacy(path, "0" * 64, root, False)
    assert unnamed(caught.value, hashlib.sha256(path.read_bytes()).hexdigest(), "0" * 64) == []
    write(path, {**GOOD, "other": DENSE})
    with pytest.raises(ImatrixError):
        code.legacy(path, "", root, False)
    assert [item.name for item in (root / ".sources").rglob("*.dat")] == ["m.dat"]
