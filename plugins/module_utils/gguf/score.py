"""How much a recipe is expected to change a model's answers, from public measurements of each tensor.

Sensitivities are data (see ``roles/gguf_quantize/files/sensitivities``)::

    model: Qwen3.5-35B-A3B
    architecture: qwen35moe
    origin: {project: ..., url: ..., commit: ..., licence: ..., files: {path: sha256}}
    measured_with: iq1_kt              # the type that the one tensor had
    tensors:                           # KL divergence from BF16 when this tensor alone has that type
      output.weight: 0.13493
      blk.*.attn_gate.weight: {0: 0.006118, 1: 0.005017}
    types: {bf16: 0, q8_0: 0.003718}   # KL divergence when all tensors have this type
    perplexity:                        # optional: ln(perplexity) = ln(base) + slope * score, fitted to measured mixes
      {base: 6.49, slope: 0.593, error: 0.003, lowest: 0.0092, highest: 0.3568, mixes: 7}

The score of a recipe is the sum over tensors of its sensitivity, times the cost of its type over the cost of the type
that it was measured with. It is a prediction by addition: docs/dev/score.md says how far it holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import TYPES, Tensor, tensor_bytes

#: Types that hold the weights as they were trained, or nearly so.
EXACT = frozenset(("f32", "f16", "bf16"))
#: How far beyond the mixes that it was fitted to an estimate may go.
BEYOND = 0.1
_KEYS = ("model", "architecture", "origin", "measured_with", "tensors", "types", "perplexity", "mixes")
_FIT = ("base", "slope", "error", "lowest", "highest", "mixes")
_MIX = ("bits", "perplexity", "score", "tensor_bytes", "bytes_per_token")


class ScoreError(ValueError):
    """There is no score; the text says why. ``place`` is the key of the sensitivities that it is about, or empty."""

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.place = place


@dataclass(frozen=True)
class Sensitivities:
    """Checked sensitivities. ``tensors`` has full names, ``perplexity`` is empty where nothing was fitted."""

    model: str
    architecture: str
    source: str
    measured_with: str
    tensors: dict[str, float]
    types: dict[str, float]
    perplexity: dict[str, float] = field(default_factory=dict)
    mixes: tuple[dict[str, float], ...] = ()

    def of(self, name: str) -> float | None:
        """Return a tensor's sensitivity, None if it was not measured.

        A tensor that holds gate and up has the sum of theirs.
        """
        if "ffn_gate_up_exps" in name and name not in self.tensors:
            parts = [self.tensors.get(name.replace("ffn_gate_up", f"ffn_{part}")) for part in ("gate", "up")]
            return None if None in parts else sum(part for part in parts if part is not None)
        return self.tensors.get(name)

    def cost(self, kind: str) -> float:
        """Return a type's cost relative to the measured one, 0 for an exact one. Raises ScoreError if not measured."""
        if kind in EXACT:
            return 0.0
        if kind not in self.types:
            raise ScoreError(f"the type {kind} was not measured with {self.model}", "types")
        return self.types[kind] / self.types[self.measured_with]


def load_sensitivities(data: Any) -> Sensitivities:
    """Check the data of sensitivities, as read from their file. Raises ScoreError naming the place."""
    if not isinstance(data, Mapping):
        raise ScoreError("the sensitivities are not a mapping of keys to values")
    for key in data:
        if key not in _KEYS:
            raise ScoreError(f"the sensitivities have the unknown key {key!r}; known are {', '.join(_KEYS)}", str(key))
    for key in ("model", "architecture", "measured_with"):
        if not isinstance(data.get(key), str) or not data[key]:
            raise ScoreError(f"the sensitivities' {key!r} is missing or not a text", key)
    types = _numbers(data.get("types"), "types")
    for name in types:
        if name not in TYPES:
            raise ScoreError(f"the sensitivities' 'types' have the unknown type {name!r}", f"types.{name}")
    if not types.get(data["measured_with"]):
        text = f"the sensitivities' 'types' have no cost of {data['measured_with']}, the type they were measured with"
        raise ScoreError(text, "measured_with")
    origin = data.get("origin") or {}
    if not isinstance(origin, Mapping):
        raise ScoreError("the sensitivities' 'origin' is not a mapping", "origin")
    source = str(origin.get("project", "")) or "no origin given"
    if origin.get("commit"):
        source += f", commit {str(origin['commit'])[:9]}"
    perplexity = _numbers(data["perplexity"], "perplexity", _FIT) if data.get("perplexity") else {}
    mixes = data.get("mixes") or []
    if not isinstance(mixes, list):
        raise ScoreError("the sensitivities' 'mixes' are not a list", "mixes")
    return Sensitivities(
        data["model"],
        data["architecture"],
        source,
        data["measured_with"],
        _tensors(data.get("tensors")),
        types,
        perplexity,
        tuple(_numbers(mix, f"mixes[{index}]", _MIX) for index, mix in enumerate(mixes)),
    )


def _numbers(data: Any, place: str, wanted: tuple[str, ...] = ()) -> dict[str, float]:
    if not isinstance(data, Mapping) or not data:
        raise ScoreError(f"the sensitivities' {place!r} is missing or not a mapping", place)
    if wanted and set(data) != set(wanted):
        raise ScoreError(f"the sensitivities' {place!r} must have exactly {', '.join(wanted)}", place)
    return {str(key): _number(value, f"{place}.{key}") for key, value in data.items()}


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ScoreError(f"the sensitivities' {place!r} is {value!r}, not a number of 0 or more", place)
    return float(value)


def _tensors(data: Any) -> dict[str, float]:
    if not isinstance(data, Mapping) or not data:
        raise ScoreError("the sensitivities' 'tensors' is missing or not a mapping", "tensors")
    found = {}
    for name, value in data.items():
        place = f"tensors.{name}"
        if not isinstance(value, Mapping):
            found[str(name)] = _number(value, place)
            continue
        if str(name).count("*") != 1:
            raise ScoreError(f"the sensitivities' {place!r} gives layers, so its name needs one '*' for them", place)
        for layer, number in value.items():
            if not re.fullmatch(r"\d+", str(layer)):
                raise ScoreError(f"the sensitivities' {place!r} has {layer!r} where a layer's number is due", place)
            found[str(name).replace("*", str(layer))] = _number(number, f"{place}.{layer}")
    return found


def by_bits_alone(tensors: list[Tensor], architecture: str) -> Sensitivities:
    """Return stand-ins where nothing was measured: every weight counts the same, and each bit quarters the error.

    Scores by them can be compared with each other and with nothing else.
    """
    every = sum(tensor.elements for tensor in tensors) or 1
    costs = {
        kind.name: 4.0 ** -(tensor_bytes(kind.name, (4096,)) * 8 / 4096)
        for kind in TYPES.values()
        if 4096 % kind.block == 0 and kind.name not in EXACT
    }
    return Sensitivities(
        "bits alone",
        architecture,
        "no measurement: every weight counts the same",
        "q8_0",
        {tensor.name: tensor.elements / every for tensor in tensors},
        costs,
    )


def check_architecture(sensitivities: Sensitivities, architecture: str) -> None:
    """Raise ScoreError where the sensitivities are of another architecture."""
    if sensitivities.architecture != architecture:
        raise ScoreError(
            f"the sensitivities are of {sensitivities.model} ({sensitivities.architecture}), and the model is"
            f" {architecture or 'of no kind'}",
            "architecture",
        )


def missing_tensors(types: Mapping[str, str], sensitivities: Sensitivities) -> list[str]:
    """Return the measured tensors that a model (tensor to type) does not have, in this or in fused form."""
    fused = re.compile(r"(?<=\.ffn_)(gate|up)(?=_exps\.weight$)")
    return [name for name in sensitivities.tensors if name not in types and fused.sub("gate_up", name) not in types]


def score(types: Mapping[str, str], architecture: str, sensitivities: Sensitivities) -> float:
    """Return the score of a model (tensor to type). Raises ScoreError where the sensitivities are not of this model.

    Tensors that were not measured (of a layer that predicts further tokens, say) do not count.
    """
    check_architecture(sensitivities, architecture)
    missing = missing_tensors(types, sensitivities)
    if missing:
        raise ScoreError(
            f"the sensitivities are of {sensitivities.model}, which has {len(missing)} tensors that this model does not"
            f" have, {missing[0]} one of them",
            "tensors",
        )
    total = 0.0
    for name, kind in types.items():
        sensitivity = sensitivities.of(name)
        if sensitivity is not None:
            total += sensitivity * sensitivities.cost(kind)
    return total


def divergence(total: float, sensitivities: Sensitivities) -> float:
    """Return the KL divergence of a score: that of a model whose tensors all have one type, if they gave this score.

    The sum of what each tensor does alone is not what all of them do together. For models of one type both are known.
    """
    return total * sensitivities.types[sensitivities.measured_with] / sum(sensitivities.tensors.values())


def estimate(total: float, sensitivities: Sensitivities) -> dict[str, Any]:
    """Return what a score says: ``score``, ``divergence``, ``source``, and an estimate of the perplexity.

    ``perplexity`` is None where nothing was fitted, or where the score is farther from what was measured than
    BEYOND (``outside``);
    ``perplexity_error`` is twice the error (root mean square) for mixes that were left out of the fit.
    """
    fit = sensitivities.perplexity
    inside = bool(fit) and (1 - BEYOND) * fit["lowest"] <= total <= (1 + BEYOND) * fit["highest"]
    value = fit["base"] * math.exp(fit["slope"] * total) if inside else None
    return {
        "score": round(total, 4),
        "divergence": round(divergence(total, sensitivities), 4),
        "perplexity": round(value, 3) if value else None,
        "perplexity_error": round(2 * fit["error"] * value, 3) if value else None,
        "outside": bool(fit) and not inside,
        "model": sensitivities.model,
        "source": sensitivities.source,
    }
