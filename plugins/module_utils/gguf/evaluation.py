"""What quantizing costs a model, as ``llama-perplexity`` of ik_llama.cpp measures it: figures, sizes and identity.

The source's log-probabilities (``--kl-divergence-base``, here "the logits") are written once, for the second half of
each chunk of a text; each model is then compared with them (``--kl-divergence``). Source of the file's form and of
the printed lines: ``examples/perplexity/perplexity.cpp``. The program ends with 0 whatever happens after the model was
loaded (a text that is too short, a full disk, a value that is no number), so that only the file's size and the
figures say whether it worked.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import read_share
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header

#: Contexts below give hardly a figure; above, products of some engines' 32-bit numbers overflow.
CONTEXTS = (32, 8192)
#: With fewer compared tokens the engine prints no statistics.
LEAST_TOKENS = 100
#: Pace that the first estimate assumes for each core: floating-point operations a second, and bytes a second of a disk.
OPERATIONS, DISK = 25e9, 500e6

_MAGIC = b"_logits_"
_NUMBER = r"(-?(?:[\d.]+|nan|inf))"
_FINAL = re.compile(rf"Final estimate: PPL over (\d+) chunks for n_ctx=\d+ = {_NUMBER} \+/- {_NUMBER}")
_RUNNING = re.compile(rf"\[(\d+)\]{_NUMBER},")
_TOO_SHORT = re.compile(r"tokenizes to only (\d+) tokens")
#: A figure and its uncertainty.
_PAIRS = {
    "perplexity": "Mean PPL(Q)",
    "base_perplexity": "Mean PPL(base)",
    "perplexity_ratio": "Mean PPL(Q)/PPL(base)",
    "kl_divergence": "Mean    KLD",
    "probability_change": "RMS Δp",
    "same_top_percent": "Same top p",
}
_PERCENTILES = {
    "maximum": "Maximum KLD",
    "p99_9": "99.9%   KLD",
    "p99": "99.0%   KLD",
    "p95": "95.0%   KLD",
    "p90": "90.0%   KLD",
    "median": "Median  KLD",
}


class EvaluationError(Exception):
    """Nothing can be measured, or the result is worthless; ``argument`` is the option to change, ``code`` one word."""

    def __init__(self, argument: str, text: str, code: str) -> None:
        super().__init__(text)
        self.argument = argument
        self.code = code


class FiguresError(ValueError):
    """The output has not the figures that it should have; ``code`` is ``nan``, ``short`` or ``missing``."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class LogitsHeader(NamedTuple):
    """The beginning of a file of logits: tokens of a chunk, of the vocabulary, and the number of chunks."""

    context: int
    vocabulary: int
    chunks: int

    @property
    def file_bytes(self) -> int:
        return logits_bytes(self.vocabulary, self.context, self.chunks)


def evaluation_id(source: str, text: str, context: int, chunks: int, commit: str) -> str:
    """Return the ID of an evaluation. ``source`` and ``text`` are sha256; the field names must never change."""
    return content_id({"source": source, "text": text, "context": context, "chunks": chunks, "engine": commit})


def compared_tokens(context: int, chunks: int) -> int:
    """Return how many tokens of the text are compared: the second half of each chunk, without its last."""
    return chunks * (context - 1 - context // 2)


def logits_bytes(vocabulary: int, context: int, chunks: int) -> int:
    """Return the size of the file of logits: for each compared token 16 bits for each word, and a scale."""
    words = 2 * ((vocabulary + 1) // 2) + 4
    return len(_MAGIC) + 3 * 4 + 4 * chunks * context + 2 * words * compared_tokens(context, chunks)


def read_logits_header(stream: BinaryIO) -> LogitsHeader:
    """Read the beginning of a file of logits. Raises FiguresError where it is none, or has only its first bytes."""
    data = stream.read(len(_MAGIC) + 3 * 4)
    if len(data) < len(_MAGIC) + 3 * 4 or not data.startswith(_MAGIC):
        raise FiguresError("it does not begin as a file of logits does", "missing")
    return LogitsHeader(*struct.unpack_from("<3i", data, len(_MAGIC)))


def most_chunks(text_bytes: int, context: int, chunks: int) -> int:
    """Return how many chunks a text has at most: a token has at least one byte, and one may begin the text."""
    most = (text_bytes + 1) // context
    return min(most, chunks) if chunks else most


def base_figures(output: str) -> dict[str, Any]:
    """Return ``value`` and ``error`` of the source's perplexity, by what the program printed. Raises FiguresError.

    The error is None where the program could compute none.
    """
    if found := _TOO_SHORT.search(output):
        raise FiguresError(f"it has only {found[1]} tokens", "short")
    values = [number for _step, number in _RUNNING.findall(output)]
    if not values:
        raise FiguresError("the program printed no perplexity", "missing")
    final = _FINAL.search(output)
    value = float_of(final[2] if final else values[-1])
    if value is None:
        raise FiguresError("the perplexity is no number", "nan")
    return {"value": value, "error": float_of(final[3]) if final else None}


def computed_chunks(output: str) -> int:
    """Return how many chunks a program has computed, by its running perplexities."""
    return max((int(step) for step, _number in _RUNNING.findall(output)), default=0)


def model_figures(output: str) -> dict[str, Any]:
    """Return what was measured of a model, by what the program printed. Raises FiguresError.

    Returns:
        `perplexity`, `base_perplexity`, `perplexity_ratio`, `kl_divergence`, `probability_change` (root mean square,
        percent) and `same_top_percent`, each with `value` and `error`, and `kl_percentiles` (`median`, `p90`, `p95`,
        `p99`, `p99_9`, `maximum`). An error is None where it is no number, as for a difference of exactly 0.
    """
    found: dict[str, Any] = {}
    lacking: list[str] = []
    for name, words in _PAIRS.items():
        match = re.search(rf"^{re.escape(words)} *: *{_NUMBER} ± *{_NUMBER}", output, re.MULTILINE)
        if not match:
            lacking.append(words)
            continue
        value = float_of(match[1])
        if value is None:
            raise FiguresError(f"{words} is no number ({match[1]})", "nan")
        found[name] = {"value": value, "error": float_of(match[2])}
    found["kl_percentiles"] = {}
    for name, words in _PERCENTILES.items():
        match = re.search(rf"^ *{re.escape(words)}: *{_NUMBER}", output, re.MULTILINE)
        value = float_of(match[1]) if match else None
        if match and value is None:
            raise FiguresError(f"{words} is no number ({match[1]})", "nan")
        if value is None:
            lacking.append(words)
        found["kl_percentiles"][name] = value
    if lacking:
        raise FiguresError(f"the program did not print {', '.join(lacking)}", "missing")
    return found


def float_of(text: str) -> float | None:
    """Return a number that the program printed, None for one that is not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def weights_per_token(header: Header, hparams: Mapping[str, int]) -> int:
    """Return with how many weights one token is multiplied: of routed experts those in use."""
    tied = all(tensor.name != "output.weight" for tensor in header.tensors)
    return round(
        sum(
            tensor.elements * read_share(tensor.name, hparams, tied)
            for tensor in header.tensors
            if tensor.dimensions > 1
        )
    )


def expected_seconds(weights: int, file_bytes: int, context: int, chunks: int, cores: int, memory: int) -> int:
    """Return how long one pass over a text may take: computed, not measured.

    Args:
        weights: that a token is multiplied with.
        file_bytes: of the model. What does not fit into ``memory`` (bytes) is read from disk for every chunk.
        context, chunks: tokens of a chunk, and how many there are.
        cores: that compute.
    """
    computing = 2 * weights * context * chunks / (OPERATIONS * max(cores, 1))
    reading = file_bytes * (chunks if file_bytes > 0.9 * memory else 1) / DISK
    return math.ceil(max(computing, reading) + min(computing, reading) / 10)
