"""What a benchmark runs on a board, and what speaks against it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils import bench_plan
from naming import named

HPARAMS = dict.fromkeys(
    ("layers", "embedding", "experts_used", "vocabulary", "key_length", "value_length", "heads_kv", "context"), 8
) | dict.fromkeys(("full_attention_interval", "state_size", "feed_forward", "time_step_rank"), 0)
FOUND: dict[str, Any] = {
    "arguments": [["--threads", "3"], ["--threads-batch", "4"], ["--batch-size", "512"], ["--ubatch-size", "512"]],
    "model": {
        "path": "/m.gguf",
        "tensor_bytes": 12 << 30,
        "hparams": HPARAMS,
        "bytes_per_token": {"total": 1_590_000_000},
    },
    "programs": "/opt/x/bin",
    "problem": "",
    "running": False,
    "server": {"resident_mib": 12_000, "active": True, "enabled": True},
    "free_mib": 1000,
}
OPTIONS: dict[str, Any] = {"repetitions": 5, "context": 8192, "time_limit": 3600, "memory_reserve_mib": 512}
BOARD: dict[str, Any] = {"root": True, "memory_available_mib": 3000}


def words(step: dict[str, Any], flag: str) -> str:
    return step["argv"][step["argv"].index(flag) + 1]


def test_the_defaults_are_the_settings_of_the_card() -> None:
    assert bench_plan.settings_of(FOUND["arguments"]) == {"card": bench_plan.CARD_SETTINGS}
    names = [step["name"] for step in bench_plan.steps(FOUND, OPTIONS)]
    assert names == ["bandwidth", "card", "context"]


def test_other_settings_are_measured_as_well() -> None:
    arguments = [*FOUND["arguments"], ["--threads", "2"], ["--cache-type-v", "q8_0"], ["-rtr"], ["--alias", "x"]]
    settings = bench_plan.settings_of(arguments)
    assert (settings["own"]["threads"], settings["own"]["repack"]) == (2, True)
    by_name = {step["name"]: step for step in bench_plan.steps({**FOUND, "arguments": arguments}, OPTIONS)}
    assert list(by_name) == ["bandwidth", "card", "own", "context"]
    assert words(by_name["card"], "-tgb") == "3,4"
    assert words(by_name["own"], "-tgb") == "2,4"
    assert words(by_name["own"], "-fa") == "1"
    assert "-fa" not in by_name["card"]["argv"]
    assert words(by_name["context"], "-t") == "2"
    assert "--threads=2" in by_name["bandwidth"]["argv"]


def test_a_batch_beyond_the_prompt_is_no_other_setting() -> None:
    assert bench_plan.settings_of([["--batch-size", "2048"], ["--ubatch-size", "512"]]).keys() == {"card"}
    assert bench_plan.settings_of([["--batch-size", "256"]])["own"]["ubatch"] == 256


def test_no_sweep_and_no_bandwidth() -> None:
    steps = bench_plan.steps(FOUND, {**OPTIONS, "context": 0}, bandwidth=False)
    assert [step["name"] for step in steps] == ["card"]
    # The model card: 512/30.85 + 50/4.53 s, six times with the warm-up, and the model is loaded once.
    assert 160 < steps[0]["expect_s"] < 200


@pytest.mark.parametrize(
    ("options", "variable"),
    [
        ({"repetitions": 1}, "llama_bench_repetitions"),
        ({"context": -1}, "llama_bench_context"),
        ({"time_limit": 5}, "llama_bench_time_limit"),
        ({"memory_reserve_mib": 4000}, "llama_bench_memory_reserve_mib"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], variable: str) -> None:
    (problem,) = bench_plan.bench_problems(FOUND, {**OPTIONS, **options}, BOARD)
    assert named(problem, variable)


def test_a_board_that_can_be_measured() -> None:
    assert bench_plan.bench_problems(FOUND, OPTIONS, BOARD) == []


def test_a_benchmark_that_runs_already_has_its_memory() -> None:
    busy = {**FOUND, "running": True, "server": {"resident_mib": 0, "active": False, "enabled": True}}
    assert bench_plan.bench_problems(busy, OPTIONS, BOARD) == []
    assert len(bench_plan.bench_problems({**busy, "running": False}, OPTIONS, BOARD)) == 1


def test_nothing_is_measured_without_a_model_room_or_root() -> None:
    broken = {**FOUND, "problem": "the model at /m.gguf cannot be read", "model": {}}
    assert bench_plan.bench_problems(broken, OPTIONS, BOARD) == [broken["problem"]]
    assert len(bench_plan.bench_problems({**FOUND, "free_mib": 3}, OPTIONS, BOARD)) == 1
    assert len(bench_plan.bench_problems(FOUND, OPTIONS, {**BOARD, "root": False})) == 1
