"""Importance matrices as ``llama-imatrix`` of ik_llama.cpp writes and ``llama-quantize`` reads them (legacy ``.dat``).

The file: a count, then for each tensor its name, the number of calls and the values (32-bit floats); behind these,
in newer files, the number of chunks and the name of the data set. All little endian. The values are skipped here.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

MAX_ENTRIES = 65536
MAX_TEXT_BYTES = 4096


class ImatrixError(ValueError):
    """The file is not an importance matrix that the engine reads; the text says why."""


class Imatrix(NamedTuple):
    """``chunks`` is 0 and ``dataset`` empty where the file does not say."""

    entries: int
    chunks: int
    dataset: str


def read_imatrix(stream: BinaryIO, size: int) -> Imatrix:
    """Read what the file ``stream`` of ``size`` bytes is about. Raises ImatrixError."""
    stream.seek(0)
    first = stream.read(4)
    if first == b"GGUF":
        raise ImatrixError(
            "this is an importance matrix in GGUF form, which ik_llama.cpp does not read: "
            "turn it into the legacy form with convert_imatrix_gguf_to_dat.py from the engine's source"
        )
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
                f"the importance matrix claims {length} bytes for {what}: it is damaged, or no legacy .dat"
            )
        data = stream.read(length)
        if len(data) < length:
            raise ImatrixError("the importance matrix is cut off or damaged")
        return data.decode("utf-8", "replace")

    entries = number()
    if not 1 <= entries <= MAX_ENTRIES:
        raise ImatrixError(f"the importance matrix claims {entries} entries: it is damaged, or no legacy .dat")
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
