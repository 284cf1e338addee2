# SPDX-License-Identifier: Apache-2.0
"""Whether a board is as fast as it should be: against the model card, against its own memory, against another run.

All functions are pure. Speeds are tokens a second, sizes bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import board_faults, is_pi5
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import tokens_per_second

GIB = 1 << 30
#: What the model card measured on a Raspberry Pi 5 16 GB: Qwen3.5-35B-A3B, 11.38 GiB, `llama-bench -t 3 -n 50`.
CARD: dict[str, Any] = {
    "architecture": "qwen35moe",
    "tensor_bytes": 12_218_867_968,
    "gib": 11.38,
    "memory_mib": 16_384,
    "prompt": 30.85,
    "generation": 4.53,
}
#: Models of the card's architecture whose size differs by less are the card's model.
SAME_SIZE = 0.01
#: Boards of 16 GB leave this much and more to programs, MiB.
LEAST_MEMORY_MIB = 14_000
#: Faults of a board that make it slow, of those that `board_faults` names.
SLOWING = (
    *("voltage-now", "voltage-since-boot", "slow-now", "slow-since-boot", "hot", "no-fan"),
    *("page-size", "eeprom", "sdram-banks"),
)
#: Swap in use, and work of other programs (processors), from which on they count as reasons.
SWAP_MIB, OTHERS = 64, 0.15
#: Two means differ where they are this many standard errors apart: 1 % of equal ones are, with five samples each
#: (Student's t, 8 degrees of freedom).
ERRORS = 3.36


def is_card_model(model: Mapping[str, Any]) -> bool:
    """Return whether this is the model that the card measured, by its architecture and size."""
    near = abs(model["tensor_bytes"] / CARD["tensor_bytes"] - 1) < SAME_SIZE
    return model["architecture"] == CARD["architecture"] and near


def incomparable(board: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Return why the card's figures do not hold for this board and model, empty if they do."""
    if not is_card_model(model):
        return "another model than the card's"
    if not is_pi5(dict(board)):
        return "no Raspberry Pi 5"
    if board["memory_mib"] < LEAST_MEMORY_MIB:
        return "less than 16 GB of memory"
    return ""


def roofline(model: Mapping[str, Any], bandwidth: float | None) -> float | None:
    """Return the most tokens a second that the measured bandwidth allows, with an empty context."""
    if not bandwidth:
        return None
    return tokens_per_second(model["bytes_per_token"]["total"], model["hparams"], bandwidth)


def reasons(one: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what can be seen that makes a board slow, as `code` (one word) and `text`.

    Args:
        one: a summary, as `bench_results.summary` returns it.
    """
    board, during = one["about"]["board"], one["phases"]["during"]
    found: list[tuple[str, str]] = []
    if during["throttled"]:
        found.append(("throttled", f"while it was measured: {', '.join(during['throttled'])}"))
    least, mean = during.get("clock_least_mhz"), during.get("clock_mhz")
    if least and mean and least < 0.97 * mean and not during["throttled"]:
        found.append(("clock", f"the clock fell to {least:.0f} MHz (mean {mean:.0f} MHz)"))
    if board["governor"] and board["governor"] != "performance":
        found.append(("governor", f"the governor is {board['governor']}. Set pi_base_governor to performance"))
    if during.get("swap_mib", 0) > SWAP_MIB:
        found.append(("swap", f"{during['swap_mib']:.0f} MiB of swap were in use. Leave more memory free"))
    if during.get("others", 0) > OTHERS:
        names = ", ".join(f"{busy['name']} ({busy['cores']:g})" for busy in one["busy"])
        text = f"other programs kept {during['others']:g} processors busy" + (f"; before it: {names}" if names else "")
        found.append(("others", text))
    if one["about"]["programs_differ"]:
        differ = ", ".join(one["about"]["programs_differ"])
        found.append(("build", f"the programs that measured were built with another {differ} than the server"))
    found += [(code, text) for code, text in board_faults(dict(board)) if code in SLOWING]
    return [{"code": code, "text": text} for code, text in found]


def judge(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a judgement of a summary.

    Returns:
        `incomparable` (why the card does not hold, or empty), `speed` (of generation, with the board's own settings, or
        None), `of_card` (share of the card's `prompt` and `generation`
        with the card's settings, empty where it does not hold), `roofline` (tokens a second or None), `of_roofline`
        (share that the board's own settings reach, or None), `reasons` (see `reasons`), `text` (one sentence).
    """
    model, settings = one["about"]["model"], one["settings"]
    card, own = settings.get("card", {}), settings.get("own") or settings.get("card", {})
    why = incomparable(one["about"]["board"], model)
    of_card = (
        {} if why else {kind: card[kind]["mean"] / CARD[kind] for kind in ("prompt", "generation") if kind in card}
    )
    most = roofline(model, one["bandwidth"])
    speed = own.get("generation", {}).get("mean")
    found = reasons(one)
    parts = []
    if speed:
        share = f", {speed / most:.0%} of what this memory allows" if most else ""
        parts.append(f"{speed:.2f} tokens/s{share}")
    if "generation" in of_card:
        parts.append(f"{of_card['generation']:.0%} of the model card")
    if not parts:
        parts.append("not measured")
    return {
        "incomparable": why,
        "speed": speed,
        "of_card": of_card,
        "roofline": most,
        "of_roofline": speed / most if speed and most else None,
        "reasons": found,
        "text": "; ".join(parts),
    }


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any], noise_percent: float = 2.0
) -> dict[str, Any] | None:
    """Return how a speed changed, and whether that is beyond the noise; None where one of them was not measured.

    Noise is `ERRORS` standard errors of the difference, known from the repetitions, and at least `noise_percent` of the
    speed before: two runs of the same thing differ by more than the repetitions of one.

    Args:
        before, after: as `bench_results.measured` returns them.

    Returns:
        `percent` (of the speed before), `noise_percent`, and `verdict`: faster, slower, same, or unknown where fewer
        than two samples tell nothing about the noise.
    """
    if not before or not after:
        return None
    percent = 100 * (after["mean"] / before["mean"] - 1)
    if before["deviation"] is None or after["deviation"] is None:
        return {"percent": round(percent, 1), "noise_percent": None, "verdict": "unknown"}
    error = math.hypot(*(one["deviation"] / math.sqrt(len(one["samples"])) for one in (before, after)))
    noise = max(noise_percent, 100 * ERRORS * error / before["mean"])
    verdict = "same" if abs(percent) <= noise else "faster" if percent > 0 else "slower"
    return {"percent": round(percent, 1), "noise_percent": round(noise, 1), "verdict": verdict}


def changed_conditions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what else is another one in the second of two summaries of a board, as words."""
    was, now = conditions(before), conditions(after)
    found = [f"{name} {was[name] or '-'} -> {now[name] or '-'}" for name in now if was[name] != now[name]]
    return found + (["settings"] if before["about"]["settings"] != after["about"]["settings"] else [])


def conditions(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the speed of a board depends on, by the words of a report."""
    about, board = one["about"], one["about"]["board"]
    return {
        "engine": about["release"]["commit"][:9],
        "model": about["model"]["sha256"][:12] or about["model"]["path"],
        "kernel": board["kernel"],
        "page size": board["page_size"],
        "governor": board["governor"],
        "EEPROM": board["eeprom_date"],
    }


def compare(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], noise_percent: float = 2.0
) -> list[dict[str, Any]]:
    """Return the differences between two runs: for each board and setting of both one row.

    Returns:
        Rows with `host`, `settings`, `kind` (prompt, generation), `before` and `after` (tokens a second), what
        `difference` returns, and `changed` (see `changed_conditions`).
    """
    earlier = {one["host"]: one for one in before}
    rows = []
    for one in after:
        other = earlier.get(one["host"])
        if not other:
            continue
        for settings, speeds in one["settings"].items():
            for kind, speed in speeds.items():
                was = other["settings"].get(settings, {}).get(kind, {})
                found = difference(was, speed, noise_percent)
                if found:
                    row = {"host": one["host"], "settings": settings, "kind": kind, **found}
                    row |= {"before": was["mean"], "after": speed["mean"]}
                    rows.append({**row, "changed": changed_conditions(other, one)})
    return rows
