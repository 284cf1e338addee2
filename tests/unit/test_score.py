"""Sensitivities and scores: what the figures say, and what of them is refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.score import (
    ScoreError,
    Sensitivities,
    by_bits_alone,
    divergence,
    estimate,
    load_sensitivities,
    score,
)
from gguf_files import qwen35_tensors
from naming import unnamed

FOLDER = Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files/sensitivities"
FILES = sorted(FOLDER.glob("*.yml"))
SMALL: dict[str, Any] = {
    "model": "Small",
    "architecture": "small",
    "measured_with": "iq2_k",
    "tensors": {
        "output.weight": 0.2,
        "blk.*.ffn_up_exps.weight": {0: 0.02, 1: 0.04},
        "blk.*.ffn_gate_exps.weight": {0: 0.01, 1: 0.03},
    },
    "types": {"iq2_k": 0.4, "q6_K": 0.01, "bf16": 0},
    "perplexity": {"base": 6, "slope": 0.5, "error": 0.01, "lowest": 0.01, "highest": 0.5, "mixes": 5},
}
TYPES = {
    "output.weight": "q6_K",
    "output_norm.weight": "f32",
    "blk.0.ffn_up_exps.weight": "iq2_k",
    "blk.1.ffn_up_exps.weight": "iq2_k",
    "blk.0.ffn_gate_exps.weight": "q6_K",
    "blk.1.ffn_gate_exps.weight": "bf16",
}


def small(**changes: Any) -> Sensitivities:
    return load_sensitivities({**copy.deepcopy(SMALL), **changes})


def shipped(path: Path) -> Sensitivities:
    return load_sensitivities(yaml.safe_load(path.read_text()))


def test_the_score_is_the_sum_of_sensitivity_times_relative_cost() -> None:
    assert score(TYPES, "small", small()) == pytest.approx(0.2 * 0.025 + 0.02 + 0.04 + 0.01 * 0.025)
    assert score({**TYPES, "blk.2.nextn.eh_proj.weight": "iq2_k"}, "small", small()) == score(TYPES, "small", small())


def test_gate_and_up_in_one_tensor_have_the_sensitivity_of_both() -> None:
    fused = {"output.weight": "bf16", "blk.0.ffn_gate_up_exps.weight": "iq2_k", "blk.1.ffn_gate_up_exps.weight": "bf16"}
    assert score(fused, "small", small()) == pytest.approx(0.03)
    assert small().of("blk.2.ffn_gate_up_exps.weight") is None


def test_models_of_one_type_have_the_divergence_that_was_measured() -> None:
    for kind in ("iq2_k", "q6_K"):
        total = score(dict.fromkeys(TYPES, kind), "small", small())
        assert divergence(total, small()) == pytest.approx(SMALL["types"][kind])


def test_an_estimate_has_its_error_and_its_source_and_no_value_outside_the_fit() -> None:
    found = estimate(0.1, small(origin={"project": "Someone", "commit": "0123456789abcdef"}))
    assert found["perplexity"] == pytest.approx(6 * math.exp(0.05), abs=1e-3)
    assert found["perplexity_error"] == pytest.approx(2 * 0.01 * found["perplexity"], abs=1e-3)
    assert unnamed(found["source"], "Someone", "012345678") == []
    for total in (0.001, 0.6):
        found = estimate(total, small())
        assert (found["perplexity"], found["perplexity_error"], found["outside"]) == (None, None, True)
    without = small(perplexity=None)
    assert (estimate(0.1, without)["perplexity"], estimate(0.1, without)["outside"]) == (None, False)


@pytest.mark.parametrize(
    ("types", "architecture", "place", "words"),
    [
        (TYPES, "llama", "architecture", ("Small", "small", "llama")),
        (TYPES, "", "architecture", ("Small",)),
        ({"output.weight": "q6_K"}, "small", "tensors", ("Small", "blk.0.ffn_up_exps.weight", 4)),
        ({**TYPES, "output.weight": "q5_K"}, "small", "types", ("Small", "q5_K")),
    ],
)
def test_a_score_that_cannot_be_says_why(types: Any, architecture: str, place: str, words: tuple[Any, ...]) -> None:
    with pytest.raises(ScoreError) as caught:
        score(types, architecture, small())
    assert (caught.value.place, unnamed(caught.value, *words)) == (place, [])


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"model": ""}, "model"),
        ({"architecture": None}, "architecture"),
        ({"measured_with": "iq3_k"}, "measured_with"),
        ({"types": {"iq2_k": 0}}, "measured_with"),
        ({"types": {"iq2_k": 1, "q9_K": 1}}, "types.q9_K"),
        ({"types": {"iq2_k": "1"}}, "types.iq2_k"),
        ({"types": []}, "types"),
        ({"tensors": {}}, "tensors"),
        ({"tensors": {"output.weight": -1}}, "tensors.output.weight"),
        ({"tensors": {"output.weight": True}}, "tensors.output.weight"),
        ({"tensors": {"output.weight": float("nan")}}, "tensors.output.weight"),
        ({"tensors": {"blk.ffn.weight": {0: 1}}}, "tensors.blk.ffn.weight"),
        ({"tensors": {"blk.*.ffn.weight": {"a": 1}}}, "tensors.blk.*.ffn.weight"),
        ({"perplexity": {"base": 1}}, "perplexity"),
        ({"mixes": [{"bits": 1}]}, "mixes[0]"),
        ({"mixes": {"a": 1}}, "mixes"),
        ({"origin": "me"}, "origin"),
        ({"sensitivity": 1}, "sensitivity"),
    ],
)
def test_wrong_sensitivities_are_refused_with_their_place(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(ScoreError) as caught:
        small(**changes)
    assert caught.value.place == place


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(ScoreError):
        load_sensitivities(["model"])


def test_stand_ins_prefer_more_bits_and_count_every_weight() -> None:
    tensors = qwen35_tensors()
    found = by_bits_alone(tensors, "qwen35moe")
    assert sum(found.tensors.values()) == pytest.approx(1)
    assert found.types["q8_0"] < found.types["q6_K"] < found.types["iq4_ks"] < found.types["iq2_ks"]
    assert score({tensor.name: "q8_0" for tensor in tensors}, "qwen35moe", found) == pytest.approx(1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_sensitivities_are_whole_and_say_where_they_come_from(path: Path) -> None:
    found = shipped(path)
    quantized = {tensor.name for tensor in qwen35_tensors("q8_0") if tensor.type == "q8_0"}
    assert found.tensors.keys() == quantized
    assert min(found.tensors.values()) > 0
    origin = yaml.safe_load(path.read_text())["origin"]
    assert len(origin["commit"]) == 40
    assert origin["licence"]
    assert origin["url"].startswith("https://")
    assert all(len(digest) == 64 for digest in origin["files"].values())


def ranks(values: Sequence[float]) -> list[float]:
    return [sum(other < value for other in values) + values.count(value) / 2 for value in values]


def correlation(left: Sequence[float], right: Sequence[float]) -> float:
    means = [sum(side) / len(side) for side in (left, right)]
    pairs = [[value - mean for value in side] for side, mean in zip((left, right), means)]
    product = sum(a * b for a, b in zip(*pairs))
    return product / math.sqrt(math.prod(sum(value * value for value in side) for side in pairs))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scores_rank_the_published_mixes_as_their_perplexities_do(path: Path) -> None:
    """Below 0.9 no recipe that was found by the score may be a default."""
    mixes = shipped(path).mixes
    perplexities = [mix["perplexity"] for mix in mixes]
    assert correlation(ranks([mix["score"] for mix in mixes]), ranks(perplexities)) > 0.9
    # Also where a mix of another size would be sorted by its size alone, the worst and the best are the right ones.
    assert max(mixes, key=lambda mix: mix["score"])["bits"] < 1.8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_fit_is_that_of_the_mixes_in_its_range(path: Path) -> None:
    found = shipped(path)
    fit = found.perplexity
    inside = [mix for mix in found.mixes if fit["lowest"] <= mix["score"] <= fit["highest"]]
    assert len(inside) == fit["mixes"]
    x = [mix["score"] for mix in inside]
    y = [math.log(mix["perplexity"]) for mix in inside]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)
    assert fit["slope"] == pytest.approx(slope, abs=2e-3)
    assert math.log(fit["base"]) == pytest.approx(mean_y - slope * mean_x, abs=1e-3)
    # Mixes that were left out are predicted worse than those that were fitted.
    residuals = [b - mean_y - slope * (a - mean_x) for a, b in zip(x, y)]
    assert fit["error"] > math.sqrt(sum(value * value for value in residuals) / len(residuals)) > 0
