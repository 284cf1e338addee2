"""Invented results of benchmarks, in the form that programs and script write them. No board was measured for them.

Numbers come from a seed: the same call gives the same result.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import hyperparameters
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header
from gguf_files import QWEN35_METADATA, qwen35_tensors

_TENSORS = tuple(qwen35_tensors())
_HEADER = Header(3, QWEN35_METADATA, {}, _TENSORS, 32, 0)
HPARAMS = hyperparameters(_HEADER)
#: The size that the card's recipe has on these shapes, and what it reads for a token (docs/recipes.md).
MODEL: dict[str, Any] = {
    "path": "/var/lib/llama/models/qwen3.5-35b-a3b/0123456789ab.gguf",
    "architecture": "qwen35moe",
    "hparams": HPARAMS,
    "tensor_bytes": 12_218_867_968,
    "bytes_per_token": {"always": 1_200_000_000, "experts": 390_000_000, "total": 1_590_000_000},
    "recipe": "rpi5-16gb-card",
    "name": "qwen3.5-35b-a3b",
    "sha256": "0123456789ab" + "0" * 52,
}
BOARD: dict[str, Any] = {
    "model": "Raspberry Pi 5 Model B Rev 1.1",
    "virtualization": "",
    "architecture": "aarch64",
    "kernel": "6.12.47+rpt-rpi-2712",
    "cores": 4,
    "memory_mib": 16_218,
    "page_size": 16_384,
    "numa_nodes": 8,
    "governor": "performance",
    "temperature_c": 55.0,
    "throttled": {"raw": 0, "now": [], "since_boot": []},
    "eeprom_date": "2025-05-08",
    "sdram": {"banklow": None},
    "cooling": {"fan": True, "rpm": 3000, "state": 1},
    "time_synchronised": True,
    "cgroup_controllers": ["cpu", "memory"],
    "storage": {"kind": "nvme", "slow": False, "name": "", "speed": "PCIe 3 x1"},
    "swap_files": [],
    "reboot_pending": [],
}
SETTINGS = {"threads": 3, "threads_batch": 4, "batch": 512, "ubatch": 512}
START = 1_767_225_600.0


def bench_output(prompt: float, generation: float, spread: float, count: int, chance: random.Random) -> str:
    """What `llama-bench -o json` prints, with the fields that are read of it."""
    tests = [
        {"n_prompt": tokens if kind == "prompt" else 0, "n_gen": tokens if kind == "generation" else 0}
        | {"avg_ts": mean, "samples_ts": [round(chance.gauss(mean, spread * mean), 4) for _ in range(count)]}
        for kind, tokens, mean in (("prompt", 512, prompt), ("generation", 50, generation))
    ]
    return json.dumps(tests, indent=2)


def sweep_output(prompt: float, generation: float, context: int) -> str:
    """What `llama-sweep-bench --output-format jsonl` writes to its log, with other lines of it."""
    rows = [
        {"n_kv": n, "pp": 512, "tg": 32}
        | {"speed_pp": prompt / (1 + n / 9000), "speed_tg": generation / (1 + n / 20000)}
        for n in range(0, context, 512)
    ]
    return "\n".join(["llama_model_loader: loaded", *map(json.dumps, rows), "llama_print_timings: x"])


def fixture_result(
    host: str = "pi-01",
    run: str = "20260101T000000Z",
    *,
    seed: int = 1,
    speed: float = 1.0,
    spread: float = 0.005,
    own: float = 0.0,
    context: int = 8192,
    throttled_from: float = 1e9,
    power: bool = True,
    board: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    started: float = START,
) -> dict[str, Any]:
    """Return a result as the script on a board writes it.

    Args:
        speed: share of the card's speed. spread: noise of one sample. own: share of the card's settings' speed that
            other settings of the board have, 0 for a board without. throttled_from: seconds after the start.
    """
    chance = random.Random(f"{seed} {host} {run}")
    prompt, generation = 30.85 * speed, 4.53 * speed
    outputs = {"bandwidth": ("10240.00 MiB transferred (11800.00 MiB/sec)\n", "", 10)}
    outputs["card"] = (bench_output(prompt, generation, spread, 5, chance), "", 175)
    if own:
        outputs["own"] = (bench_output(prompt * own, generation * own, spread, 5, chance), "", 175)
    if context:
        outputs["context"] = ("", sweep_output(prompt, generation, context), 380)
    steps, at = [], started + 5
    for name, (output, errors, seconds) in outputs.items():
        steps.append(
            {"name": name, "argv": [name], "rc": 0, "timed_out": False, "started": at, "ended": at + seconds}
            | {"seconds": seconds, "peak_mib": 11_900 if name != "bandwidth" else 770, "output": output}
            | {"errors": errors}
        )
        at += seconds
    samples = []
    for second in range(0, int(at - started) + 6, 2):
        busy = 5 <= second <= at - started
        slow = second >= throttled_from
        warm = 48 + 30 * (1 - 2.718 ** (-second / 120))
        sample = {"t": started + second, "temperature_c": round(min(warm, 85) + 8 * slow + chance.gauss(0, 0.3), 1)}
        sample |= {"clock_mhz": 1800 if slow else 2400, "throttled": 0x4 if slow else 0, "available_mib": 3200}
        sample |= {"swap_mib": 0, "others": 0.02}
        samples.append({**sample, "watts": round(7.1 if busy else 2.9, 2)} if power else sample)
    release = {"id": "fedcba987654", "commit": "8337e4cd3861406fc04e0854b1409cd1b027fbc9", "compiler": "g++ 12.2.0"}
    return {
        "format": 1,
        "run": run,
        "state": "finished",
        "started": started,
        "ended": at + 5,
        "about": {
            "host": host,
            "board": {**BOARD, **(board or {})},
            "deployment": "aaaabbbbcccc",
            "arguments": [["--threads", "3"]],
            "release": {**release, "target_cpu": "native 0x41-0xd0b", "options": {}},
            "programs_differ": [],
            "model": MODEL,
            "settings": {"card": SETTINGS, **({"own": {**SETTINGS, "threads": 4}} if own else {})},
            "options": {"repetitions": 5, "context": context},
            **(about or {}),
        },
        "steps": steps,
        "samples": samples,
        "busy": [],
    }
