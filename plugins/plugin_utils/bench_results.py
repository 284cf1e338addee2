# SPDX-License-Identifier: Apache-2.0
"""What a benchmark measured, from what its programs printed. All functions are pure.

Formats: `examples/llama-bench/llama-bench.cpp` (json_printer) and `examples/sweep-bench/sweep-bench.cpp` of
ik_llama.cpp at 8337e4cd3, sysbench 1.0.20. Speeds are tokens a second. Output that is cut off gives
what is whole in it.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import THROTTLED
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json

FORMAT = 1
#: Steps that llama-bench does, by the names of their settings.
SETTINGS = ("card", "own")


def objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield each JSON object in a text that may have anything else between them, or end in the middle of one."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
        except ValueError:
            place += 1
        else:
            yield value
        place = text.find("{", place)


def numbers(values: Iterable[Any]) -> list[float]:
    """Return those values that are finite numbers above zero: what a measurement can be."""
    return [float(one) for one in values if isinstance(one, (int, float)) and math.isfinite(one) and one > 0]


def measured(samples: Iterable[Any]) -> dict[str, Any]:
    """Return `mean`, `deviation` (of one sample; None of fewer than two) and `samples`; empty without any."""
    found = numbers(samples)
    if not found:
        return {}
    deviation = round(statistics.stdev(found), 4) if len(found) > 1 else None
    return {"mean": round(statistics.fmean(found), 4), "deviation": deviation, "samples": found}


def bench_speeds(text: str) -> dict[str, dict[str, Any]]:
    """Return `prompt` and `generation` as `measured` does, from what llama-bench prints; those that are there."""
    found: dict[str, dict[str, Any]] = {}
    for test in objects(text):
        prompt, generated = test.get("n_prompt"), test.get("n_gen")
        kind = "prompt" if prompt and not generated else "generation" if generated and not prompt else ""
        speed = measured(test.get("samples_ts") or [])
        if kind and speed:
            found[kind] = {**speed, "tokens": prompt or generated}
    return found


def sweep_speeds(text: str) -> list[dict[str, float]]:
    """Return `context` (tokens before), `prompt` and `generation` for each line that llama-sweep-bench prints."""
    rows = [
        {"context": int(row["n_kv"]), "prompt": float(row["speed_pp"]), "generation": float(row["speed_tg"])}
        for row in objects(text)
        if {"n_kv", "speed_pp", "speed_tg"} <= row.keys()
    ]
    return [row for row in rows if len(numbers((row["prompt"], row["generation"]))) == 2]


def bandwidth(text: str) -> float | None:
    """Return the bytes a second that sysbench read, None if it does not say."""
    found = re.search(r"MiB transferred \(([0-9.]+) MiB/sec\)", text)
    return float(found[1]) * 2**20 if found else None


def throttling(samples: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what slowed the board down in these samples (`vcgencmd get_throttled`, bits of that moment)."""
    seen = 0
    for sample in samples:
        seen |= int(sample.get("throttled", 0))
    return [word for bit, word in enumerate(THROTTLED) if seen >> bit & 1]


def _of(samples: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    return [float(sample[name]) for sample in samples if name in sample]


def phase(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how the board was in these samples: highest temperature and swap, mean clock, power and others' work."""
    known: dict[str, Any] = {"throttled": throttling(samples)}
    for name, what in (("temperature_c", max), ("swap_mib", max), ("available_mib", min)):
        if values := _of(samples, name):
            known[name] = what(values)
    for name in ("clock_mhz", "watts", "others"):
        if values := _of(samples, name):
            known[name] = round(statistics.fmean(values), 2)
    if values := _of(samples, "clock_mhz"):
        known["clock_least_mhz"] = min(values)
    return known


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result says, for judgements and reports.

    Args:
        result: what the script on the board wrote (roles/llama_bench/files/bench).

    Returns:
        `host`, `run`, `state`, `started` and `ended` (epoch, seconds), `about` (board, release, model, settings,
        deployment); `settings` (by name, each with `prompt` and `generation`), `context` (list, see `sweep_speeds`),
        `bandwidth` (bytes a second or None), `phases` (before, during, after), `samples` with the time in seconds since
        the start, `busy`, `peak_mib` (of the programs), `joules_per_token` (of generation and prompt in one, None where
        the board does not tell its power), `failures` (sentences).
    """
    steps = {step["name"]: step for step in result.get("steps", [])}
    samples = result.get("samples", [])
    begun = min((step["started"] for step in steps.values()), default=result["started"])
    ended = max((step.get("ended", begun) for step in steps.values()), default=begun)
    during = [one for one in samples if begun <= one["t"] <= ended]
    settings = {name: bench_speeds(steps[name].get("output", "")) for name in SETTINGS if name in steps}
    sweep = steps.get("context", {})
    return {
        "host": result["about"]["host"],
        "run": result["run"],
        "state": result["state"],
        "started": result["started"],
        "ended": result.get("ended"),
        "about": result["about"],
        "settings": settings,
        # Its table goes to the log, which is stderr.
        "context": sweep_speeds(sweep.get("output", "") + "\n" + sweep.get("errors", "")),
        "bandwidth": bandwidth(steps.get("bandwidth", {}).get("output", "")),
        "phases": {
            "before": phase([one for one in samples if one["t"] < begun]),
            "during": phase(during),
            "after": phase([one for one in samples if one["t"] > ended]),
        },
        "samples": [{**one, "t": round(one["t"] - result["started"], 1)} for one in samples],
        "busy": result.get("busy", []),
        "peak_mib": max((int(step.get("peak_mib", 0)) for step in steps.values()), default=0),
        "joules_per_token": joules_per_token(steps, samples),
        "failures": failures(result, steps),
    }


def joules_per_token(steps: Mapping[str, Mapping[str, Any]], samples: list[dict[str, Any]]) -> float | None:
    """Return the energy of one generated token, from the power while the board's own settings were measured.

    The power is that of prompt and generation together, which keep all of its regulators about as busy.
    """
    step = steps.get("own") or steps.get("card")
    if not step or "ended" not in step:
        return None
    power = _of((one for one in samples if step["started"] <= one["t"] <= step["ended"]), "watts")
    speed = bench_speeds(step.get("output", "")).get("generation")
    return round(statistics.fmean(power) / speed["mean"], 2) if power and speed else None


def failures(result: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each step that did not end well, and for a benchmark that was cut off."""
    found = []
    for name, step in steps.items():
        last = next((line for line in reversed(str(step.get("errors", "")).splitlines()) if line.strip()), "")
        if step.get("timed_out"):
            found.append(f"{name}: ended at the time limit (llama_bench_time_limit)")
        elif step.get("rc") is None:
            found.append(f"{name}: cut off")
        elif step["rc"]:
            found.append(f"{name}: ended with code {step['rc']}" + (f": {last.strip()[:200]}" if last else ""))
    if result["state"] == "running":
        found.append("the benchmark was killed, or the board lost power")
    if result["state"] == "stopped":
        found.append("the benchmark was stopped by somebody, or the server was started meanwhile")
    return found


def read_result(path: Path) -> dict[str, Any]:
    """Return the summary of a result file. ValueError if it is none, or cut off."""
    content: dict[str, Any] = read_json(path, {})
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} is no result of a benchmark, or is cut off")
    try:
        return summary(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
