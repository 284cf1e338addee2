"""Whether a board is as fast as it should be, and whether two runs differ."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils import bench_judge
from ansible_collections.ik_llama.pi.plugins.plugin_utils.bench_results import summary
from bench_fixture import MODEL, fixture_result


def judged(**options: Any) -> dict[str, Any]:
    return bench_judge.judge(summary(fixture_result(**options)))


def codes(**options: Any) -> set[str]:
    return {reason["code"] for reason in judged(**options)["reasons"]}


def test_a_board_as_the_card_has_it() -> None:
    found = judged()
    assert found["incomparable"] == ""
    assert found["of_card"]["generation"] == pytest.approx(1, abs=0.02)
    # 11,800 MiB/s over 1.59 GB of weights and twice 62.8 MiB of recurrent state.
    assert found["roofline"] == pytest.approx(11_800 * 2**20 / (1.59e9 + 2 * 62.8 * 2**20), rel=0.01)
    assert found["of_roofline"] == pytest.approx(4.53 / found["roofline"], rel=0.02)
    assert found["reasons"] == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"throttled_from": 100}, "throttled"),
        ({"board": {"governor": "ondemand"}}, "governor"),
        ({"board": {"page_size": 4096}}, "page-size"),
        ({"board": {"numa_nodes": 1}}, "sdram-banks"),
        ({"board": {"eeprom_date": "2024-06-01"}}, "eeprom"),
        ({"board": {"throttled": {"raw": 1, "now": ["under-voltage"], "since_boot": []}}}, "voltage-now"),
        ({"board": {"cooling": {"fan": False, "rpm": None, "state": None}}}, "no-fan"),
        ({"about": {"programs_differ": ["compiler"]}}, "build"),
    ],
)
def test_reasons_that_can_be_seen(options: dict[str, Any], code: str) -> None:
    assert codes(**options) == {code}


def test_swap_and_other_programs_are_reasons_while_it_is_measured() -> None:
    result = fixture_result()
    for sample in result["samples"]:
        sample |= {"swap_mib": 900, "others": 0.8}
    result["busy"] = [{"name": "apt", "cores": 0.7}]
    found = {reason["code"]: reason["text"] for reason in bench_judge.judge(summary(result))["reasons"]}
    assert found.keys() == {"swap", "others"}
    assert "apt" in found["others"]


def test_a_clock_that_falls_is_a_reason_without_the_firmware() -> None:
    result = fixture_result(throttled_from=300)
    for sample in result["samples"]:
        del sample["throttled"]
    assert {reason["code"] for reason in bench_judge.judge(summary(result))["reasons"]} == {"clock"}


@pytest.mark.parametrize(
    "options",
    [
        {"board": {"model": "", "virtualization": "container"}},
        {"board": {"memory_mib": 8000}},
        {"about": {"model": {**MODEL, "tensor_bytes": 10**6}}},
        {"about": {"model": {**MODEL, "architecture": "qwen3moe"}}},
    ],
)
def test_the_card_does_not_hold_for_everything(options: dict[str, Any]) -> None:
    found = judged(**options)
    assert found["incomparable"]
    assert found["of_card"] == {}
    assert found["of_roofline"]


def test_without_bandwidth_there_is_no_roofline() -> None:
    result = fixture_result()
    result["steps"] = [step for step in result["steps"] if step["name"] != "bandwidth"]
    found = bench_judge.judge(summary(result))
    assert (found["roofline"], found["of_roofline"]) == (None, None)


def test_nothing_measured() -> None:
    result = fixture_result()
    result["steps"] = []
    found = bench_judge.judge(summary(result))
    assert (found["of_card"], found["of_roofline"]) == ({}, None)


def speed(mean: float, deviation: float | None, count: int = 5) -> dict[str, Any]:
    return {"mean": mean, "deviation": deviation, "samples": [mean] * count}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (speed(4.5, 0.01), speed(4.5, 0.01), "same"),
        # Within what two runs of the same differ by, whatever the repetitions say.
        (speed(4.5, 0.001), speed(4.57, 0.001), "same"),
        (speed(4.5, 0.01), speed(4.7, 0.01), "faster"),
        (speed(4.5, 0.01), speed(4.2, 0.01), "slower"),
        # Noisy ones must differ by more.
        (speed(4.5, 0.3), speed(4.2, 0.3), "same"),
        (speed(4.5, None, 1), speed(2.0, 0.01), "unknown"),
    ],
)
def test_a_verdict_only_beyond_the_noise(before: dict[str, Any], after: dict[str, Any], verdict: str) -> None:
    found = bench_judge.difference(before, after)
    assert found is not None
    assert found["verdict"] == verdict


def test_equal_boards_are_hardly_ever_different() -> None:
    """Noise of 2 % in each sample, 400 pairs of runs: at most 2 % of the verdicts are wrong."""
    wrong = 0
    for seed in range(400):
        one, other = (
            summary(fixture_result(seed=seed, run=run, spread=0.02, context=0, power=False)) for run in ("a", "b")
        )
        rows = bench_judge.compare([one], [other])
        wrong += sum(row["verdict"] != "same" for row in rows)
    assert wrong <= 0.02 * 800


def test_two_runs() -> None:
    before = [summary(fixture_result()), summary(fixture_result("pi-02"))]
    slow = fixture_result(run="20260102T000000Z", speed=0.8, board={"kernel": "6.18.1", "governor": "ondemand"})
    rows = bench_judge.compare(before, [summary(slow), summary(fixture_result("pi-09"))])
    assert {(row["host"], row["kind"], row["verdict"]) for row in rows} == {
        ("pi-01", "prompt", "slower"),
        ("pi-01", "generation", "slower"),
    }
    assert all(row["percent"] == pytest.approx(-20, abs=2) for row in rows)
    assert len(rows[0]["changed"]) == 2


def test_boards_of_which_one_was_not_measured_have_no_difference() -> None:
    assert bench_judge.difference({}, speed(1, 0.1)) is None
    assert bench_judge.difference(speed(1, 0.1), {}) is None
