"""Recipes that the solver finds: the least score within memory and speed, by few rules."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import (
    ROUNDED_ON_ARM,
    bytes_for_speed,
    bytes_per_token,
    footprint,
    hyperparameters,
    room_for_weights,
    tokens_per_second,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header, Tensor, read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import load_recipe, predict
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.score import Sensitivities, load_sensitivities, score
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.search import SearchError, Wanted, find_recipe
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.solver import (
    READABLE_LOSS,
    Limits,
    Problem,
    SolverError,
    assign,
    curve,
    load_restrictions,
    make_problem,
    number_range,
    recipe_of,
    rules_of,
    solve_freely,
    solve_readably,
)
from gguf_files import QWEN35_METADATA, header_bytes, qwen35_tensors, stream
from naming import unnamed

FILES = Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files"
DATA = yaml.safe_load((FILES / "sensitivities/qwen3.5-35b-a3b.yml").read_text())
RESTRICTIONS = yaml.safe_load((FILES / "restrictions/aarch64.yml").read_text())
MEASURED = load_sensitivities(DATA)
CARD = Limits(12_218_867_968, 1_586_726_800)
BOARD = {
    "memory_mib": 15818,
    "reserve_mib": 1024,
    "bandwidth_gbs": 11.0,
    "context": 16384,
    "parallel": 1,
    "ctx_checkpoints": 4,
    "cache_ram_mib": 0,
}


@pytest.fixture(scope="module")
def header() -> Header:
    return read_header(stream(QWEN35_METADATA, qwen35_tensors()))


@pytest.fixture(scope="module")
def problem(header: Header) -> Problem:
    return make_problem(header.tensors, hyperparameters(header), MEASURED, load_restrictions(RESTRICTIONS))


def found_by(header: Header, data: Any = DATA, restrictions: Any = RESTRICTIONS, **wanted: Any) -> dict[str, Any]:
    board = {**BOARD, **wanted.pop("board", {})}
    return find_recipe(header, data, Wanted(board, restrictions=restrictions, **wanted), "title", "origin")


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (Limits(CARD.tensor_bytes, int(0.87 * CARD.bytes_per_token)), 0.5),
        (CARD, 0.4),
        (Limits(13_500_000_000, CARD.bytes_per_token), 0.3),
        (Limits(14_500_000_000, int(0.9 * CARD.bytes_per_token)), 0.3),
    ],
)
def test_a_readable_recipe_is_within_its_limits_and_nearly_as_good_as_any(
    problem: Problem, limits: Limits, most: float
) -> None:
    began = time.process_time()
    readable, free = solve_readably(problem, limits)
    assert time.process_time() - began < 5
    assert readable.score <= most * 0.366
    assert free.bound <= free.score
    assert free.bound <= readable.score <= free.bound * (1 + max(READABLE_LOSS, 0.05))
    for found in (readable, free):
        assert found.tensor_bytes <= limits.tensor_bytes
        assert found.bytes_per_token <= limits.bytes_per_token
    # A person reads it: fewer rules than there are layers.
    assert rules_of(readable.choice) <= 20


def test_the_recipe_of_an_assignment_gives_its_types_bytes_and_score(problem: Problem, header: Header) -> None:
    found, _free = solve_readably(problem, CARD)
    data = recipe_of(problem, found, "title", "origin", "qwen35moe")
    recipe = load_recipe(json.loads(json.dumps(data)))
    assert all(rule.reason for rule in recipe.rules)
    result = predict(recipe, header, Imatrix(1, 1, ""), "i")
    types = {tensor.name: tensor.type for tensor in result.tensors}
    assert result.warnings == ()
    assert result.tensor_bytes == found.tensor_bytes
    assert bytes_per_token(result.tensors, hyperparameters(header))["total"] == found.bytes_per_token
    assert score(types, "qwen35moe", MEASURED) == pytest.approx(found.score)
    for layer in range(40):
        assert types[f"blk.{layer}.ffn_gate_exps.weight"] == types[f"blk.{layer}.ffn_up_exps.weight"]


def test_restrictions_are_kept_and_given_with_their_reasons(problem: Problem) -> None:
    for limits in (CARD, Limits(30_000_000_000, 4_000_000_000)):
        found, free = solve_readably(problem, limits)
        for assignment in (found, free):
            used = {group.kinds[pick] for group, picks in zip(problem.groups, assignment.choice) for pick in picks}
            assert used.isdisjoint(problem.left_out)
    assert problem.left_out.keys() >= ROUNDED_ON_ARM
    assert {"iq1_kt", "iq2_kt", "iq3_kt", "iq4_kt"} <= problem.left_out.keys()
    assert all(problem.left_out.values())


def test_without_restrictions_every_measured_type_may_be_used(header: Header) -> None:
    free = make_problem(header.tensors, hyperparameters(header), MEASURED, {})
    assert "q8_0" in {kind for group in free.groups for kind in group.kinds}
    restricted = make_problem(header.tensors, hyperparameters(header), MEASURED, load_restrictions(RESTRICTIONS))
    assert solve_freely(free, CARD)[0].score < solve_freely(restricted, CARD)[0].score


SMALL = Sensitivities(
    "Small", "small", "none", "iq2_k",
    {"output.weight": 0.3, **{f"blk.{layer}.ffn_up_exps.weight": 0.1 / (layer + 1) for layer in range(5)}},
    {"iq2_k": 0.4, "iq3_k": 0.1, "iq4_k": 0.03, "iq6_k": 0.005},
)  # fmt: skip


def small_problem() -> Problem:
    tensors = [Tensor("output.weight", (256, 256), "f16"), Tensor("output_norm.weight", (256,), "f32")]
    tensors += [Tensor(f"blk.{layer}.ffn_up_exps.weight", (256, 64, 8), "f16") for layer in range(5)]
    return make_problem(tensors, {"layers": 5, "experts": 8, "experts_used": 2, "vocabulary": 256}, SMALL, {})


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_bound_is_below_every_assignment_and_the_best_is_near_it(share: float) -> None:
    """All assignments of a small model, one by one."""
    problem = small_problem()
    smallest, largest = (
        assign(
            problem,
            tuple((pick if pick == 0 else len(group.kinds) - 1,) * len(group.layers) for group in problem.groups),
        )
        for pick in (0, 1)
    )
    limits = Limits(
        round(smallest.tensor_bytes + share * (largest.tensor_bytes - smallest.tensor_bytes)),
        round(smallest.bytes_per_token + share * (largest.bytes_per_token - smallest.bytes_per_token)),
    )
    every = itertools.product(
        *(itertools.product(range(len(group.kinds)), repeat=len(group.layers)) for group in problem.groups)
    )
    fitting = [
        found.score
        for found in (assign(problem, choice) for choice in every)
        if found.tensor_bytes <= limits.tensor_bytes and found.bytes_per_token <= limits.bytes_per_token
    ]
    readable, free = solve_readably(problem, limits)
    assert free.bound <= min(fitting) + 1e-9
    assert min(fitting) <= readable.score + 1e-9
    assert min(fitting) <= free.score + 1e-9


def test_limits_that_nothing_meets_say_what_is_possible(problem: Problem) -> None:
    with pytest.raises(SolverError) as caught:
        solve_readably(problem, Limits(5_000_000_000, 10**10))
    assert (caught.value.limit, caught.value.least > 5_000_000_000) == ("tensor_bytes", True)
    least = caught.value.least
    assert solve_freely(problem, Limits(least, 10**10))[0].tensor_bytes == least
    with pytest.raises(SolverError) as caught:
        solve_readably(problem, Limits(10**11, 500_000_000))
    assert (caught.value.limit, caught.value.least > 500_000_000) == ("bytes_per_token", True)


def test_more_memory_and_more_reading_never_make_it_worse(problem: Problem) -> None:
    rows = curve(problem, range(10_000_000_000, 16_000_000_000, 2_000_000_000), [1_300_000_000, 1_600_000_000])
    for one, other in itertools.permutations(rows, 2):
        if one["tensor_bytes"] <= other["tensor_bytes"] and one["limit"] <= other["limit"]:
            assert other["score"] <= one["score"] * 1.02, (one, other)
    assert curve(problem, [1_000_000_000], [1_600_000_000]) == []


@pytest.mark.parametrize(("first", "last"), [(0, 7), (3, 15), (8, 39), (0, 40), (10, 29), (9, 10), (5, 5), (95, 123)])
def test_a_range_of_numbers_as_a_pattern(first: int, last: int) -> None:
    pattern = re.compile(f"(?:{number_range(first, last)})")
    assert [number for number in range(300) if pattern.fullmatch(str(number))] == list(range(first, last + 1))


def test_other_forms_of_the_model_are_solved_too(header: Header) -> None:
    tensors = [
        Tensor(item.name.replace("ffn_up_exps", "ffn_gate_up_exps"), (2048, 1024, 256), item.type)
        if ".ffn_up_exps." in item.name
        else item
        for item in header.tensors
        if ".ffn_gate_exps." not in item.name
    ]
    last = [item for item in tensors if item.name.startswith("blk.39.")]
    tensors += [Tensor(item.name.replace("blk.39.", "blk.40."), item.shape, item.type) for item in last]
    tensors.append(Tensor("blk.40.nextn.eh_proj.weight", (4096, 2048), "q8_0"))
    metadata = {**QWEN35_METADATA, "qwen35moe.block_count": 41, "qwen35moe.nextn_predict_layers": 1}
    other = read_header(stream(metadata, tensors))
    result = found_by(other, tokens_per_second=6.5)
    predicted = predict(load_recipe(result["recipe"]), other, Imatrix(1, 1, ""), "i")
    assert predicted.warnings == ()
    assert predicted.tensor_bytes == result["found"]["tensor_bytes"]


def test_kinds_that_were_not_measured_get_at_least_four_bits(header: Header) -> None:
    tensors = [*header.tensors, Tensor("blk.0.new_thing.weight", (2048, 2048), "q8_0")]
    problem = make_problem(tensors, hyperparameters(header), MEASURED, load_restrictions(RESTRICTIONS))
    (group,) = [group for group in problem.groups if "new_thing" in group.pattern]
    assert group.kinds == ("iq4_kss",)


def test_memory_and_speed_become_bytes(header: Header) -> None:
    hparams = hyperparameters(header)
    result = found_by(header, tokens_per_second=7)["found"]
    model = {"tensor_bytes": result["limits"]["tensor_bytes"], "hparams": hparams}
    options = {key: BOARD[key] for key in ("parallel", "ctx_checkpoints", "cache_ram_mib")}
    assert footprint(model, 16384, **options)["total"] == (15818 - 1024) << 20  # type: ignore[arg-type]
    assert room_for_weights(hparams, BOARD, (15818 - 1024) << 20) == result["limits"]["tensor_bytes"]
    read = bytes_for_speed(7, hparams, 11e9)
    assert tokens_per_second(read, hparams, 11e9) == pytest.approx(7, rel=1e-6)
    assert result["limits"]["bytes_per_token"] == read
    assert result["tokens_per_second"] >= 7
    # A longer context leaves less room.
    longer = found_by(header, tokens_per_second=7, board={"context": 131072})["found"]
    assert longer["limits"]["tensor_bytes"] < result["limits"]["tensor_bytes"]
    assert longer["estimate"]["score"] > result["estimate"]["score"]
    assert found_by(header)["found"]["limits"]["bytes_per_token"] == 0
    smaller = found_by(header, tokens_per_second=7, tensor_bytes=CARD.tensor_bytes)["found"]
    assert smaller["tensor_bytes"] <= CARD.tensor_bytes


def test_by_bits_alone_needs_no_sensitivities(header: Header) -> None:
    result = found_by(header, {}, by_bits=True, tokens_per_second=6.5)
    assert result["found"]["by_bits"] is True
    assert result["found"]["estimate"]["perplexity"] is None
    assert load_recipe(result["recipe"]).rules


@pytest.mark.parametrize(
    ("changes", "argument", "words"),
    [
        ({"board": {"memory_mib": 4000}}, "memory_mib", (4000, 16384)),
        ({"tensor_bytes": 1_000_000}, "tensor_bytes", ("1,000,000",)),
        ({"tokens_per_second": 30}, "tokens_per_second", ("11.0", "10.89")),
        ({"data": {}}, "sensitivities", ()),
        ({"data": {"model": ""}}, "sensitivities", ("model",)),
        ({"data": {**DATA, "architecture": "llama"}}, "sensitivities", ("llama", "qwen35moe")),
        ({"data": {**DATA, "tensors": {**DATA["tensors"], "x.weight": 1}}}, "sensitivities", ("x.weight",)),
        ({"restrictions": [{"types": ["q9"], "reason": "", "source": ""}]}, "restrictions", ("q9",)),
        ({"restrictions": [{"types": "q8_0", "reason": "", "source": ""}]}, "restrictions", ("restrictions",)),
        ({"restrictions": [{"types": ["q8_0"]}]}, "restrictions", ("restrictions",)),
        ({"restrictions": [{"types": list(MEASURED.types), "reason": "x", "source": "x"}]}, "restrictions", ()),
    ],
)
def test_a_request_that_cannot_be_met_names_what_to_change(
    header: Header, changes: dict[str, Any], argument: str, words: tuple[Any, ...]
) -> None:
    with pytest.raises(SearchError) as caught:
        found_by(header, **changes)
    assert (caught.value.argument, unnamed(caught.value, *words)) == (argument, [])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The true header of the model, with a hole for its weights."""
    path = tmp_path / "q8_0.gguf"
    path.write_bytes(header_bytes(QWEN35_METADATA, qwen35_tensors()))
    os.truncate(path, path.stat().st_size + 36_892_150_272)
    return path


def test_the_module(plugin: Any, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its result is what Ansible can pass on, and it is as fast as promised."""
    options = {
        "source": str(source),
        "sensitivities": DATA,
        "restrictions": RESTRICTIONS,
        "board": BOARD,
        "tokens_per_second": 7,
        "title": "mine",
        "origin": "me",
    }
    with patch_module_args(options), pytest.raises(SystemExit):
        plugin("modules", "gguf_recipe_info").main()
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] is False
    assert load_recipe(result["recipe"]).title == "mine"
    assert result["found"]["loss"] <= 0.05
    assert result["seconds"] < 5
    assert {"limit", "tensor_bytes", "bytes_per_token", "score"} == set(result["curve"][0])
    assert result["left_out"].keys() >= ROUNDED_ON_ARM
    for changes, argument in (
        ({"tokens_per_second": 99}, "tokens_per_second"),
        ({"sensitivities": {}}, "sensitivities"),
        ({"source": f"{source}.missing"}, "source"),
    ):
        with patch_module_args({**options, **changes}), pytest.raises(SystemExit):
            plugin("modules", "gguf_recipe_info").main()
        refused = json.loads(capsys.readouterr().out)
        assert (refused["failed"], refused["argument"]) == (True, argument)
