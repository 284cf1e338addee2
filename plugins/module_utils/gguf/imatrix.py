"""Importance matrices, in the form that ``llama-quantize`` of ik_llama.cpp reads (legacy ``.dat``) and in GGUF form.

The legacy form (``load_imatrix`` in ``examples/quantize/quantize.cpp``): a count, then for each tensor its name, a
number of calls by which the engine divides (not where it is 0, as some converters write it), and the values (32-bit
floats); behind these, in newer files, the number of chunks and the name of the data set. All little endian. Of two
entries of one name the engine takes the later one, and what follows the data set it does not read.

The GGUF form, which llama.cpp writes since July 2025 and ik_llama.cpp does not read: for each tensor the sums of
squared activations, ``NAME.in_sum2`` (length of a row, number of experts or 1), and for how many tokens each was summed
up, ``NAME.counts`` (1, number of experts or 1). What quantizing weighs by is sum / count in both forms:
``save_imatrix`` of ik_llama.cpp writes sum / count * calls, and here ``calls`` is 1. An expert that saw no token weighs
all its columns alike, with 1, as ``llama-quantize`` of llama.cpp does; a tensor of which no expert saw one is left out.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from array import array
from collections.abc import Iterator, Mapping
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
PIECE = 1 << 20  # bytes of values that are held at a time

# The last byte of a float has its sign and the upper seven bits of its exponent: these are of finite, positive ones.
_ORDINARY = bytes(range(0x7F))
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_PAGE = re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE)
_POINTER = b"version https://git-lfs"


class ImatrixError(ValueError):
    """The file is not an importance matrix that can be used; the text says why, and ``code`` is one word for it."""

    def __init__(self, text: str, code: str = "damaged") -> None:
        super().__init__(text)
        self.code = code


class Imatrix(NamedTuple):
    """What is known of an importance matrix.

    ``chunks`` is 0 and ``dataset`` empty where the file does not say. ``lengths``: how many values each entry with data
    has, by its name; None for a file that was not read. ``trailing``: bytes at its end that the engine does not read.
    """

    entries: int
    chunks: int
    dataset: str
    lengths: Mapping[str, int] | None = None
    trailing: int = 0


def is_gguf(stream: BinaryIO) -> bool:
    """Whether the file has the GGUF form. What is in neither form is found when it is read."""
    stream.seek(0)
    return stream.read(4) == MAGIC


def read_imatrix(stream: BinaryIO, size: int) -> Imatrix:
    """Read what the file ``stream`` of ``size`` bytes is about, in either form; no values. Raises ImatrixError."""
    if is_gguf(stream):
        matrix = _Gguf(stream, size)
        lengths = {name: sums.elements for name, sums, _counts in matrix.pairs}
        return Imatrix(len(lengths), matrix.chunks, matrix.dataset, lengths)
    legacy = _Legacy(stream, size)
    lengths = {name: values for name, (_position, values) in legacy.entries.items()}
    return Imatrix(len(lengths), legacy.chunks, legacy.dataset, lengths, legacy.trailing)


def entries_without_data(stream: BinaryIO, size: int) -> frozenset[str]:
    """Read all values of the file, in either form, and return the names of entries that have nothing but zeros.

    Raises ImatrixError for a value that is no number (the engine refuses the file), infinite, or negative.
    """
    found: dict[str, tuple[int, int]]
    if is_gguf(stream):
        matrix = _Gguf(stream, size)
        start = matrix.header.data_start
        found = {name: (start + sums.offset, sums.elements) for name, sums, _counts in matrix.pairs}
    else:
        found = _Legacy(stream, size).entries
    return frozenset(name for name, place in found.items() if not _has_data(stream, name, *place))


def experts_without_data(stream: BinaryIO, size: int, experts: Mapping[str, int]) -> dict[str, int]:
    """Return for how many experts an entry of a matrix in legacy form has no data, for entries of several experts.

    Of experts that saw no token ``save_imatrix`` writes the number of calls in every column, so that the engine weighs
    all of them alike; where there are 5 % or more, it leaves out the entry. An expert of nothing but zeros counts too.

    Args:
        experts: how many experts each tensor has, by its name. Entries of others are not read.

    Raises:
        ImatrixError: for a matrix that is damaged.
    """
    matrix = _Legacy(stream, size)
    found = {}
    for name, (position, values) in matrix.entries.items():
        count = experts.get(name, 0)
        if count < 2 or values % count:
            continue
        row = 4 * (values // count)
        empty = {struct.pack("<f", number) * (row // 4) for number in (0, matrix.calls[name])}
        stream.seek(position)
        found[name] = sum(stream.read(row) in empty for _expert in range(count))
    return found


def _has_data(stream: BinaryIO, name: str, position: int, values: int) -> bool:
    """Return whether one of the values at ``position`` is not zero. Raises ImatrixError for those that cannot be."""
    stream.seek(position)
    left, zeros = 4 * values, True
    while left:
        data = stream.read(min(left, PIECE))
        if len(data) % 4 or not data:
            raise ImatrixError("the importance matrix is cut off")
        left -= len(data)
        zeros = zeros and not data.strip(b"\0")
        if data[3::4].translate(None, _ORDINARY):
            for value in _floats(data):
                if not math.isfinite(value) or value < 0:
                    raise ImatrixError(
                        f"entry {name} of the importance matrix has the value {value:g}, but values are finite and not "
                        "negative: the file is damaged, or the program that made it failed",
                        "values",
                    )
    return not zeros


def _floats(data: bytes) -> array[float]:
    found = array("f")
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found


class _Legacy:
    """An importance matrix in legacy form; ``entries``: position (bytes) and number of the values, by name.

    ``calls``: how often each was computed, by which the engine divides.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self._refuse_text()
        stream.seek(0)
        count = self._number()
        if not 1 <= count <= MAX_ENTRIES:
            raise ImatrixError(f"the importance matrix claims {count} entries: it is damaged, or no importance matrix")
        self.entries: dict[str, tuple[int, int]] = {}
        self.calls: dict[str, int] = {}
        for index in range(count):
            name = self._text(f"the name of entry {index + 1}")
            calls = self._number()
            values = self._number()
            position = stream.tell()
            if values < 1 or position + 4 * values > size:
                raise ImatrixError("the importance matrix is cut off or damaged")
            self.entries[name], self.calls[name] = (position, values), calls
            stream.seek(position + 4 * values)
        self.chunks, self.dataset = 0, ""
        if stream.tell() < size:
            self.chunks, self.dataset = self._number(), self._text("the data set's name")
        self.trailing = size - stream.tell()

    def _refuse_text(self) -> None:
        """Raise ImatrixError for a text; a matrix has zero bytes in its first number."""
        self.stream.seek(0)
        start = self.stream.read(512)
        if not start or _CONTROL.search(start):
            return
        if _PAGE.match(start):
            text = "this is a web page and no importance matrix. Download the file itself"
        elif start.startswith(_POINTER):
            text = "this is a Git LFS pointer and no importance matrix. Get the file itself with git lfs pull"
        else:
            first = start.decode("utf-8", "replace").strip().partition("\n")[0][:60]
            text = f"this is a text and no importance matrix; it begins with {first!r}"
        raise ImatrixError(text, "text")

    def _number(self) -> int:
        data = self.stream.read(4)
        if len(data) < 4:
            raise ImatrixError("the importance matrix is cut off or damaged")
        return int(struct.unpack("<i", data)[0])

    def _text(self, what: str) -> str:
        length = self._number()
        if not 0 <= length <= MAX_TEXT_BYTES:
            raise ImatrixError(
                f"the importance matrix claims {length} bytes for {what}: it is damaged, or no importance matrix"
            )
        data = self.stream.read(length)
        if len(data) < length:
            raise ImatrixError("the importance matrix is cut off or damaged")
        return data.decode("utf-8", "replace")


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
        data = self.stream.read(4 * count)
        if len(data) < 4 * count:
            raise ImatrixError("the importance matrix is cut off")
        return _floats(data)


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
    lengths = {name: sums.elements for name, sums, _counts in matrix.pairs}
    return Imatrix(len(lengths), matrix.chunks, matrix.dataset, lengths)
