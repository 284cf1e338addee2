"""GGUF headers: what a model file holds, without its weights.

Reads GGUF version 2 and 3, little endian, from any binary file object with ``read`` and ``seek``. Only the header is
touched, and no more of it is kept than is of use: long arrays (the vocabulary) are walked over and summarised. A
damaged or hostile file ends in one :class:`GGUFError` with a sentence for the user, in bounded time and memory.

Sizes are in bytes, shapes are as in the file: the length of a row first. Type numbers, block sizes and the bytes that
some types add to each row are those of ik_llama.cpp (``enum ggml_type`` in ``ggml/include/ggml.h``, ``type_traits`` in
``ggml/src/ggml.c``), which has many more types than upstream llama.cpp.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NamedTuple

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32

# Far above any real model, and low enough that a made-up count costs neither minutes nor gigabytes.
MAX_HEADER_BYTES = 256 << 20
MAX_KEYS = 4096
MAX_TENSORS = 65536
MAX_ARRAY = 4 << 20
MAX_KEY_BYTES = 1024
MAX_STRING_BYTES = 1 << 20
MAX_NAME_BYTES = 63  # GGML_MAX_NAME less the closing zero
MAX_DIMENSIONS = 4
MAX_ELEMENTS = 1 << 48
KEPT_ARRAY = 1024
KEPT_STRINGS = 8
MAX_PARTS = 1024
CHUNK = 1 << 20


class GGUFError(ValueError):
    """The file is not a GGUF file that can be used; the text says why, and ``code`` is one word for it."""

    def __init__(self, text: str, code: str = "damaged") -> None:
        super().__init__(text)
        self.code = code


class Type(NamedTuple):
    """A tensor type: elements and bytes per block, and bytes added to each row."""

    id: int
    name: str
    block: int
    block_bytes: int
    row_bytes: int = 0


_TYPES = (
    Type(0, "f32", 1, 4),
    Type(1, "f16", 1, 2),
    Type(2, "q4_0", 32, 18),
    Type(3, "q4_1", 32, 20),
    Type(6, "q5_0", 32, 22),
    Type(7, "q5_1", 32, 24),
    Type(8, "q8_0", 32, 34),
    # 9 (q8_1) and 15 (q8_K) hold activations while the engine computes and never stand in a file.
    Type(10, "q2_K", 256, 84),
    Type(11, "q3_K", 256, 110),
    Type(12, "q4_K", 256, 144),
    Type(13, "q5_K", 256, 176),
    Type(14, "q6_K", 256, 210),
    Type(16, "iq2_xxs", 256, 66),
    Type(17, "iq2_xs", 256, 74),
    Type(18, "iq3_xxs", 256, 98),
    Type(19, "iq1_s", 256, 50),
    Type(20, "iq4_nl", 32, 18),
    Type(21, "iq3_s", 256, 110),
    Type(22, "iq2_s", 256, 82),
    Type(23, "iq4_xs", 256, 136),
    Type(24, "i8", 1, 1),
    Type(25, "i16", 1, 2),
    Type(26, "i32", 1, 4),
    Type(27, "i64", 1, 8),
    Type(28, "f64", 1, 8),
    Type(29, "iq1_m", 256, 56),
    Type(30, "bf16", 1, 2),
    Type(31, "q4_0_4x4", 32, 18),
    Type(32, "q4_0_4x8", 32, 18),
    Type(33, "q4_0_8x8", 32, 18),
    # 34, 35 and 40 are upstream's: ik_llama.cpp cannot read them, but the plan can say what a file holds.
    Type(34, "tq1_0", 256, 54),
    Type(35, "tq2_0", 256, 66),
    Type(36, "i2_s", 1, 1),
    Type(39, "mxfp4", 32, 17),
    Type(40, "nvfp4", 64, 36),
    Type(41, "q1_0_g128", 128, 18),
    Type(133, "q6_0", 32, 26),
    Type(134, "iq1_bn", 64, 13, 2),
    Type(135, "iq2_bn", 64, 16, 4),
    Type(137, "iq2_k", 256, 76),
    Type(138, "iq3_k", 256, 110),
    Type(139, "iq4_k", 256, 144),
    Type(140, "iq5_k", 256, 176),
    Type(141, "iq6_k", 256, 212),
    Type(144, "iq4_ks", 256, 136, 4),
    Type(145, "iq2_ks", 256, 70, 2),
    Type(146, "iq4_kss", 256, 128, 4),
    Type(151, "q8_KV", 32, 32, 8),
    Type(152, "iq5_ks", 256, 168, 4),
    Type(153, "iq2_kt", 256, 68, 4),
    Type(154, "iq3_kt", 256, 100, 4),
    Type(155, "iq4_kt", 256, 128, 4),
    Type(156, "iq3_ks", 256, 102, 2),
    Type(157, "iq2_kl", 256, 86, 2),
    Type(158, "iq1_kt", 256, 56, 4),
    Type(202, "q4_0_r8", 32, 18),
    Type(206, "q5_0_r4", 32, 22),
    Type(208, "q8_0_r8", 32, 34),
    Type(210, "q2_k_r4", 256, 84),
    Type(211, "q3_k_r4", 256, 110),
    Type(212, "q4_k_r4", 256, 144),
    Type(213, "q5_k_r4", 256, 176),
    Type(214, "q6_k_r4", 256, 210),
    Type(216, "iq2_xxs_r4", 256, 66),
    Type(217, "iq2_xs_r4", 256, 74),
    Type(218, "iq3_xxs_r4", 256, 98),
    Type(219, "iq1_s_r4", 32, 6, 2),
    Type(220, "iq4_nl_r4", 32, 18),
    Type(221, "iq3_s_r4", 256, 110),
    Type(222, "iq2_s_r4", 256, 82),
    Type(223, "iq4_xs_r8", 256, 136),
    Type(229, "iq1_m_r4", 32, 7, 2),
    Type(230, "bf16_r16", 1, 2),
    Type(233, "q6_0_r4", 32, 26),
    Type(335, "iq2_bn_r4", 64, 16, 4),
    Type(337, "iq2_k_r4", 256, 76),
    Type(338, "iq3_k_r4", 256, 110),
    Type(339, "iq4_k_r4", 256, 144),
    Type(340, "iq5_k_r4", 256, 176),
    Type(344, "iq4_ks_r4", 256, 136, 4),
    Type(352, "iq5_ks_r4", 256, 168, 4),
    Type(398, "q8_KV_r8", 32, 32, 4),
    Type(399, "q8_k_r8", 256, 258),
)
TYPES = {kind.name: kind for kind in _TYPES}
TYPES_BY_ID = {kind.id: kind for kind in _TYPES}


@dataclass(frozen=True)
class Tensor:
    """One tensor of the header; ``offset`` counts from the start of the data, in its own part of a split file."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int = 0

    @property
    def elements(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def dimensions(self) -> int:
        """As the engine counts: lengths of one at the end do not."""
        return max((index for index, length in enumerate(self.shape) if length > 1), default=0) + 1


@dataclass(frozen=True)
class Array:
    """What is kept of a long array (more than KEPT_ARRAY numbers, KEPT_STRINGS strings): how many elements it has."""

    count: int


@dataclass(frozen=True)
class Header:
    """All of a header. ``entry_bytes`` holds the size of each metadata entry (key, type and value) in the file."""

    version: int
    metadata: dict[str, Any]
    entry_bytes: dict[str, int]
    tensors: tuple[Tensor, ...]
    alignment: int
    data_start: int

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor_bytes(tensor.type, tensor.shape) for tensor in self.tensors)


def padded(size: int, alignment: int) -> int:
    """``size`` rounded up to a multiple of ``alignment``."""
    return -(-size // alignment) * alignment


def tensor_bytes(type_name: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor's data. Raises GGUFError where the row does not fill whole blocks of the type."""
    kind = TYPES[type_name]
    rows = 1
    for length in shape[1:]:
        rows *= length
    if kind.name == "i2_s":  # two bits an element and one scale for the whole tensor
        return shape[0] * rows // 4 + 32
    if shape[0] % kind.block:
        raise GGUFError(
            f"a row of {shape[0]} elements does not fill blocks of {kind.block}, which {type_name} needs", "row"
        )
    return (kind.row_bytes + shape[0] // kind.block * kind.block_bytes) * rows


def file_bytes(header_bytes: int, sizes: Iterable[int], alignment: int = DEFAULT_ALIGNMENT) -> int:
    """Bytes of a whole file: the header, then each tensor's data, everything filled up to the alignment."""
    return padded(header_bytes, alignment) + sum(padded(size, alignment) for size in sizes)


# number -> struct format, as in gguf_type
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING = 8
_ARRAY = 9


class _Reader:
    """Reads the header in large chunks, so that many small values cost few calls (or few requests, over a network)."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._start = 0  # where in the file the buffer begins
        self._at = 0

    @property
    def position(self) -> int:
        return self._start + self._at

    def take(self, size: int, what: str) -> bytes:
        if self.position + size > MAX_HEADER_BYTES:
            raise GGUFError(f"the header goes on beyond {MAX_HEADER_BYTES >> 20} MiB (at {what}): the file is damaged")
        if self._at + size > len(self._buffer):
            self._start, self._buffer, self._at = self.position, self._buffer[self._at :], 0
            while len(self._buffer) < size:
                piece = self._stream.read(max(CHUNK, size - len(self._buffer)))
                if not piece:
                    raise GGUFError(
                        f"the file ends inside its header (at {what}): it is cut off or damaged", "truncated"
                    )
                self._buffer += piece
        self._at += size
        return self._buffer[self._at - size : self._at]

    def skip(self, size: int, what: str) -> None:
        """Go past ``size`` bytes; what lies beyond the buffer is not read."""
        inside = min(size, len(self._buffer) - self._at)
        self._at += inside
        if inside < size:
            target = self.position + size - inside
            if target > MAX_HEADER_BYTES:
                raise GGUFError(
                    f"the header goes on beyond {MAX_HEADER_BYTES >> 20} MiB (at {what}): the file is damaged"
                )
            self._stream.seek(target)
            self._start, self._buffer, self._at = target, b"", 0

    def number(self, form: str, what: str) -> Any:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form), what))[0]

    def text(self, limit: int, what: str) -> str:
        length = self.number("Q", what)
        if length > limit:
            raise GGUFError(f"{what} claims {length} bytes, more than {limit}: the file is damaged", "length")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            raise GGUFError(f"{what} is not UTF-8 text: the file is damaged", "encoding") from None

    def value(self, what: str) -> Any:
        kind = self.number("I", what)
        if kind == _STRING:
            return self.text(MAX_STRING_BYTES, what)
        if kind == _ARRAY:
            return self._array(what)
        return self._scalar(kind, what)

    def _scalar(self, kind: int, what: str) -> Any:
        if kind not in _SCALARS:
            raise GGUFError(
                f"{what} has the unknown value type {kind}: the file is damaged or newer than this reader", "value-type"
            )
        return self.number(_SCALARS[kind], what)

    def _array(self, what: str) -> Any:
        kind = self.number("I", what)
        count = self.number("Q", what)
        if count > MAX_ARRAY:
            raise GGUFError(
                f"{what} claims an array of {count} elements, more than {MAX_ARRAY}: the file is damaged", "array"
            )
        if kind == _STRING and count <= KEPT_STRINGS:
            return [self.text(MAX_STRING_BYTES, what) for _number in range(count)]
        if kind == _STRING:
            for _number in range(count):
                length = self.number("Q", what)
                if length > MAX_STRING_BYTES:
                    raise GGUFError(f"{what} claims a string of {length} bytes: the file is damaged", "string")
                self.skip(length, what)
            return Array(count)
        if kind not in _SCALARS:
            raise GGUFError(
                f"{what} is an array of the unknown type {kind}: the file is damaged or newer than this reader",
                "array-type",
            )
        if count > KEPT_ARRAY:
            self.skip(count * struct.calcsize("<" + _SCALARS[kind]), what)
            return Array(count)
        return [self._scalar(kind, what) for _number in range(count)]


def read_header(stream: BinaryIO, size: int | None = None) -> Header:
    """Read the header of the GGUF file ``stream``, from its beginning.

    ``size``: the file's size, where it is known; then data that the file does not hold is an error too.
    """
    stream.seek(0)
    reader = _Reader(stream)
    if reader.take(4, "its first bytes") != MAGIC:
        raise GGUFError("this is not a GGUF file: it does not begin with the letters GGUF", "magic")
    version = reader.number("I", "the version")
    if version not in (2, 3):
        big = version & 0xFFFF == 0
        raise GGUFError(
            f"GGUF version {version}{' (big endian)' if big else ''} is not supported, only 2 and 3",
            "byte-order" if big else "version",
        )
    tensor_count = reader.number("Q", "the number of tensors")
    key_count = reader.number("Q", "the number of keys")
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        raise GGUFError(f"the header claims {tensor_count} tensors and {key_count} keys: the file is damaged", "counts")

    metadata: dict[str, Any] = {}
    entry_bytes: dict[str, int] = {}
    for index in range(key_count):
        start = reader.position
        key = reader.text(MAX_KEY_BYTES, f"key {index + 1} of {key_count}")
        if key in metadata:
            raise GGUFError(f"the key {key} is twice in the header: the file is damaged", "key-twice")
        metadata[key] = reader.value(key)
        entry_bytes[key] = reader.position - start

    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    number = isinstance(alignment, int) and not isinstance(alignment, bool)
    if not number or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise GGUFError(f"general.alignment is {alignment!r}, not a power of two: the file is damaged", "alignment")

    tensors = tuple(_read_tensor(reader, f"tensor {index + 1} of {tensor_count}") for index in range(tensor_count))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise GGUFError("two tensors have the same name: the file is damaged", "tensor-twice")
    data_start = padded(reader.position, alignment)
    _check_layout(tensors, alignment, data_start, size)
    return Header(version, metadata, entry_bytes, tensors, alignment, data_start)


def _read_tensor(reader: _Reader, what: str) -> Tensor:
    name = reader.text(MAX_NAME_BYTES, f"the name of {what}")
    what = f"tensor {name!r}"
    dimensions = reader.number("I", what)
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise GGUFError(f"{what} claims {dimensions} dimensions: the file is damaged", "dimensions")
    shape = tuple(reader.number("Q", what) for _number in range(dimensions))
    type_id = reader.number("I", what)
    offset = reader.number("Q", what)
    if type_id not in TYPES_BY_ID:
        raise GGUFError(f"{what} has the type number {type_id}, which ik_llama.cpp does not know", "tensor-type")
    tensor = Tensor(name, shape, TYPES_BY_ID[type_id].name, offset)
    if not all(shape) or max(shape) > MAX_ELEMENTS or tensor.elements > MAX_ELEMENTS:
        raise GGUFError(f"{what} claims the shape {list(shape)}: the file is damaged", "shape")
    return tensor


def _check_layout(tensors: tuple[Tensor, ...], alignment: int, data_start: int, size: int | None) -> None:
    """Each tensor's data is aligned, overlaps no other's and, where ``size`` is known, lies inside the file."""
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda item: item.offset):
        try:
            length = tensor_bytes(tensor.type, tensor.shape)
        except GGUFError as error:
            raise GGUFError(f"tensor {tensor.name!r}: {error}", error.code) from None
        if tensor.offset % alignment:
            raise GGUFError(f"the data of tensor {tensor.name!r} is not aligned: the file is damaged", "offset")
        if tensor.offset < end:
            raise GGUFError(f"the data of {tensor.name!r} overlaps that of {before!r}: the file is damaged", "overlap")
        end, before = tensor.offset + length, tensor.name
    if size is not None and tensors and data_start + end > size:
        raise GGUFError(
            f"the file has {size} bytes, but its tensor {before!r} ends at {data_start + end}: it is cut off", "cut-off"
        )


def refusal(header: Header) -> tuple[str, str] | None:
    """Return why the file is no model that can be served, in a sentence and a word, and None if it is one.

    ``general.type`` is written by newer converters; older files are known by their architecture and keys (``gguf``
    in llama.cpp's gguf-py, ``GGUFType`` and ``MODEL_ARCH.MMPROJ``).
    """
    kind, architecture = header.metadata.get("general.type", ""), header.architecture
    if kind == "imatrix" or "imatrix.chunk_count" in header.metadata:
        return "this is an importance matrix; name the model that it was made for", "imatrix"
    if kind == "mmproj" or architecture in ("clip", "mmproj"):
        return "this is an mmproj, which only adds images or sound to a model; name the model's own file", "mmproj"
    if kind == "adapter" or "adapter.type" in header.metadata or architecture == "controlvector":
        return "this is an adapter, which only changes another model; name a whole model", "adapter"
    if not header.tensors:
        return "this file has no tensors: it is a vocabulary alone; name the model's own file", "vocabulary"
    if not architecture:
        return "this file names no architecture, so it is no language model", "foreign"
    if all(tensor.name != "token_embd.weight" for tensor in header.tensors):
        return f"this file ({architecture}) has no token_embd.weight, so it is no language model", "foreign"
    return None


_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def part_names(name: str) -> tuple[str, ...]:
    """The names of all files of a model of which ``name`` is the first; ``name`` alone where it is not split.

    Raises GGUFError where ``name`` is a later part.
    """
    found = _PART.fullmatch(name)
    if not found:
        return (name,)
    count = int(found["count"])
    if not 1 <= count <= MAX_PARTS:
        raise GGUFError(f"{name}: a model of {count} parts cannot be")
    names = tuple(f"{found['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))
    if int(found["number"]) != 1:
        raise GGUFError(f"{name} is a later part of a split model; name its first part, {names[0]}", "later-part")
    return names


def merge_headers(headers: Sequence[Header]) -> Header:
    """One header for all parts of a split model, in order; that of a whole file stays as it is.

    Metadata and layout are those of the first part, as for the engine. Raises GGUFError where the parts do not belong
    together, and for a single file that is a part of something.
    """
    first = headers[0]
    count = first.metadata.get("split.count", 0)
    if len(headers) == 1 and (not isinstance(count, int) or count <= 1):
        return first
    for number, header in enumerate(headers):
        found, of = header.metadata.get("split.no", 0), header.metadata.get("split.count", 0)
        if (found, of) != (number, len(headers)):
            raise GGUFError(
                f"part {number + 1} of {len(headers)} states that it is number {found!r} (from 0) of {of!r}: "
                "the parts do not belong together, or were renamed",
                "parts",
            )
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise GGUFError("a tensor is in two parts of the split model: the parts do not belong together", "parts")
    total = first.metadata.get("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise GGUFError(
            f"the parts hold {len(tensors)} tensors together, and the first says there are {total!r}", "parts"
        )
    return replace(first, tensors=tensors)
