"""Importance matrices, in the form that ``llama-quantize`` of ik_llama.cpp reads (legacy ``.dat``) and in GGUF form.

The legacy form (``load_imatrix`` in ``examples/quantize/quantize.cpp``): a count, then for each tensor its name, a
number of calls by which the engine divides, and the values (32-bit floats); behind these, in newer files, the number of
chunks and the name of the data set. All little endian.

The GGUF form, which llama.cpp writes since July 2025 and ik_llama.cpp does not read: for each tensor the sums of
squared activations, ``NAME.in_sum2`` (length of a row, number of experts or 1), and for how many tokens each was summed
up, ``NAME.counts`` (1, number of experts or 1). What quantizing weighs by is sum / count in both forms:
``save_imatrix`` of ik_llama.cpp writes sum / count * calls, and here ``calls`` is 1. An expert that saw no token weighs
all its columns alike, with 1, as ``llama-quantize`` of llama.cpp does; a tensor of which no expert saw one is left out.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    MAGIC,
    GGUFError,
    Header,
    Tensor,
    read_header,
)

MAX_ENTRIES = 65536
MAX_TEXT_BYTES = 4096
SUMS, COUNTS = ".in_sum2", ".counts"


class ImatrixError(ValueError):
    """The file is not an importance matrix that can be used; the text says why, and ``code`` is one word for it."""

    def __init__(self, text: str, code: str = "damaged") -> None:
        super().__init__(text)
        self.code = code


class Imatrix(NamedTuple):
    """``chunks`` is 0 and ``dataset`` empty where the file does not say."""

    entries: int
    chunks: int
    dataset: str


def is_gguf(stream: BinaryIO) -> bool:
    """Whether the file has the GGUF form. What is in neither form is found when it is read."""
    stream.seek(0)
    return stream.read(4) == MAGIC


def read_imatrix(stream: BinaryIO, size: int) -> Imatrix:
    """Read what the file ``stream`` of ``size`` bytes is about, in either form. Raises ImatrixError."""
    if is_gguf(stream):
        matrix = _Gguf(stream, size)
        return Imatrix(len(matrix.pairs), matrix.chunks, matrix.dataset)
    stream.seek(0)

    def number() -> int:
        data = stream.read(4)
        if len(data) < 4:
            raise ImatrixError("the importance matrix is cut off or damaged")
        return int(struct.unpack("<i", data)[0])

    def text(what: str) -> str:
        length = number()
        if not 0 <= length <= MAX_TEXT_BYTES:
            raise ImatrixError(
                f"the importance matrix claims {length} bytes for {what}: it is damaged, or no importance matrix"
            )
        data = stream.read(length)
        if len(data) < length:
            raise ImatrixError("the importance matrix is cut off or damaged")
        return data.decode("utf-8", "replace")

    entries = number()
    if not 1 <= entries <= MAX_ENTRIES:
        raise ImatrixError(f"the importance matrix claims {entries} entries: it is damaged, or no importance matrix")
    for index in range(entries):
        text(f"the name of entry {index + 1}")
        number()  # calls
        values = number()
        position = stream.tell() + 4 * values
        if values < 1 or position > size:
            raise ImatrixError("the importance matrix is cut off or damaged")
        stream.seek(position)
    if stream.tell() == size:
        return Imatrix(entries, 0, "")
    return Imatrix(entries, number(), text("the data set's name"))


class _Gguf:
    """An importance matrix in GGUF form; ``pairs`` are the entries that have data: name, sums, counts."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        try:
            self.header = read_header(stream, size)
        except GGUFError as error:
            raise ImatrixError(str(error), error.code) from None
        kind = self.header.metadata.get("general.type")
        if kind != "imatrix":
            what = "a model" if self.header.architecture else f"of the type {kind!r}"
            raise ImatrixError(f"this GGUF file is no importance matrix, but {what}", "kind")
        self.chunks = self._number("imatrix.chunk_count")
        datasets = self.header.metadata.get("imatrix.datasets")
        self.dataset = datasets[0] if isinstance(datasets, list) and datasets and isinstance(datasets[0], str) else ""
        if len(self.dataset.encode()) > MAX_TEXT_BYTES:
            raise ImatrixError(
                "the importance matrix names a data set of more than 4096 bytes: it is damaged", "dataset"
            )
        self.pairs = tuple(self._pairs(self.header))
        if not self.pairs:
            raise ImatrixError("the importance matrix has no entry with data in it", "empty")

    def _number(self, key: str) -> int:
        value = self.header.metadata.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
            raise ImatrixError(f"{key} is {value!r}: the importance matrix is damaged", "number")
        return value

    def _pairs(self, header: Header) -> Iterator[tuple[str, Tensor, array[float]]]:
        tensors = {tensor.name: tensor for tensor in header.tensors}
        for tensor in header.tensors:
            name = tensor.name
            code, wrong = "", ""
            if not name.endswith((SUMS, COUNTS)):
                code, wrong = "neither", "is neither sums nor counts"
            elif name.endswith(COUNTS):
                if name[: -len(COUNTS)] + SUMS not in tensors:
                    code, wrong = "no-sums", "are counts without sums"
            elif name[: -len(SUMS)] + COUNTS not in tensors:
                code, wrong = "no-counts", "are sums without counts"
            else:
                counts = tensors[name[: -len(SUMS)] + COUNTS]
                if tensor.type != "f32" or counts.type != "f32" or tensor.elements != tensor.shape[0] * counts.elements:
                    code = "form"
                    wrong = f"is {tensor.type} {list(tensor.shape)} with counts {counts.type} {list(counts.shape)}"
                else:
                    times = self.values(counts, 0, counts.elements)
                    if not all(math.isfinite(count) and count >= 0 for count in times):
                        code, wrong = "counts", "has counts that are no numbers of tokens"
                    elif any(times):
                        yield name[: -len(SUMS)], tensor, times
            if code:
                raise ImatrixError(
                    f"{name} {wrong}: the importance matrix is damaged, or of a form not known here", code
                )

    def values(self, tensor: Tensor, first: int, count: int) -> array[float]:
        self.stream.seek(self.header.data_start + tensor.offset + 4 * first)
        found = array("f")
        data = self.stream.read(4 * count)
        if len(data) < 4 * count:
            raise ImatrixError("the importance matrix is cut off")
        found.frombytes(data)
        if sys.byteorder == "big":
            found.byteswap()
        return found


def write_legacy(stream: BinaryIO, size: int, out: BinaryIO) -> Imatrix:
    """Write the importance matrix ``stream`` (GGUF form, ``size`` bytes) to ``out`` in legacy form.

    The same input gives the same bytes. Raises ImatrixError, then ``out`` is worth nothing.
    """
    matrix = _Gguf(stream, size)
    out.write(struct.pack("<i", len(matrix.pairs)))
    for name, sums, counts in matrix.pairs:
        out.write(struct.pack("<i", len(name.encode())) + name.encode())
        out.write(struct.pack("<ii", 1, sums.elements))
        row = sums.shape[0]
        for index, count in enumerate(counts):
            values = matrix.values(sums, index * row, row)
            weights = array("f", [value / count for value in values] if count else [1.0] * row)
            if not all(map(math.isfinite, weights)) or min(weights) < 0:
                raise ImatrixError(
                    f"{name} holds values that are no sums of squares: the importance matrix is damaged", "sums"
                )
            if sys.byteorder == "big":
                weights.byteswap()
            out.write(weights.tobytes())
    dataset = matrix.dataset.encode()
    out.write(struct.pack("<ii", matrix.chunks, len(dataset)) + dataset)
    return Imatrix(len(matrix.pairs), matrix.chunks, matrix.dataset)
