"""What a benchmark measured, from what its programs printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils import bench_results
from bench_fixture import fixture_result


def step(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in result["steps"] if one["name"] == name)


def test_a_whole_result() -> None:
    found = bench_results.summary(fixture_result(own=1.1))
    assert found["settings"].keys() == {"card", "own"}
    assert found["settings"]["card"]["prompt"]["mean"] == pytest.approx(30.85, rel=0.02)
    assert found["settings"]["own"]["generation"]["mean"] == pytest.approx(4.98, rel=0.02)
    assert found["settings"]["card"]["generation"]["tokens"] == 50
    assert [row["context"] for row in found["context"]] == list(range(0, 8192, 512))
    assert found["bandwidth"] == 11_800 * 2**20
    assert found["phases"]["before"]["watts"] < found["phases"]["during"]["watts"]
    assert found["joules_per_token"] == pytest.approx(7.1 / 4.98, rel=0.03)
    assert (found["peak_mib"], found["failures"]) == (11_900, [])


def test_output_that_is_cut_off_gives_what_is_whole() -> None:
    result = fixture_result()
    whole = step(result, "card")["output"]
    for cut in range(len(whole)):
        found = bench_results.bench_speeds(whole[:cut])
        assert set(found) <= {"prompt", "generation"}
    assert set(bench_results.bench_speeds(whole[: whole.rindex("{")])) == {"prompt"}
    lines = step(result, "context")["errors"]
    assert len(bench_results.sweep_speeds(lines[: len(lines) // 2])) == 8


@pytest.mark.parametrize("samples", [[], [0.0], ["x", None], [float("nan"), float("inf")]])
def test_what_is_no_speed_is_not_there(samples: list[Any]) -> None:
    assert bench_results.measured(samples) == {}
    text = '[{"n_prompt": 512, "n_gen": 0, "samples_ts": [nan]}]'
    assert bench_results.bench_speeds(text) == {}


def test_a_prompt_with_generation_is_none_of_both() -> None:
    text = json.dumps([{"n_prompt": 512, "n_gen": 50, "samples_ts": [1.0, 2.0]}])
    assert bench_results.bench_speeds(text) == {}


def test_one_sample_has_no_noise() -> None:
    assert bench_results.measured([2.0]) == {"mean": 2.0, "deviation": None, "samples": [2.0]}


def test_throttling_is_that_of_the_time_of_measuring() -> None:
    result = fixture_result(throttled_from=100)
    assert bench_results.summary(result)["phases"]["during"]["throttled"] == ["throttled"]
    # What was since boot is no condition of that time.
    for sample in result["samples"]:
        sample["throttled"] = 0x50000
    assert bench_results.summary(result)["phases"]["during"]["throttled"] == []


def test_a_board_that_tells_nothing_of_itself() -> None:
    result = fixture_result(power=False)
    result["samples"] = [{"t": sample["t"]} for sample in result["samples"]]
    found = bench_results.summary(result)
    assert found["joules_per_token"] is None
    assert found["phases"]["during"] == {"throttled": []}


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"rc": -9, "timed_out": True}, "limit", 1),
        ({"rc": 1, "errors": "error: failed to load model\n"}, "failed", 1),
        ({"rc": None}, "running", 2),
        ({"rc": -15}, "stopped", 2),
    ],
)
def test_what_went_wrong_is_said_and_the_rest_is_kept(changes: dict[str, Any], state: str, words: int) -> None:
    result = fixture_result()
    step(result, "context").update(changes, output="")
    result["state"] = state
    found = bench_results.summary(result)
    assert len(found["failures"]) == words
    assert found["settings"]["card"]["prompt"]["mean"] > 0


def test_a_benchmark_that_was_killed_in_its_first_step() -> None:
    result = fixture_result()
    first = result["steps"][0]
    result |= {"state": "running", "steps": [{key: first[key] for key in ("name", "argv", "started")}]}
    del result["ended"]
    found = bench_results.summary(result)
    assert (found["settings"], found["context"], found["bandwidth"], found["ended"]) == ({}, [], None, None)


def test_files(tmp_path: Path) -> None:
    whole = json.dumps(fixture_result())
    path = tmp_path / "x.json"
    path.write_text(whole)
    assert bench_results.read_result(path)["host"] == "pi-01"
    for damaged in (whole[: len(whole) // 2], "", "[]", '{"format": 2}', '{"format": 1}'):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"x\.json"):
            bench_results.read_result(path)
