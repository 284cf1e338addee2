#!/usr/bin/env python3
"""Compare what the planner predicts with what the real llama-quantize plans, tensor by tensor, on the true shapes.

For each recipe (a file) and each plain file type the engine runs with ``--dry-run``, which reads the source, prints the
type of each tensor and the size in all, and writes nothing. Prints a table; ends with 1 where anything differs::

    tests/bench/full_shape.py /var/tmp/q8_0.gguf
    tests/bench/dry_run.py ~/.cache/ik-llama-pi/engine/current/bin/llama-quantize /var/tmp/q8_0.gguf \\
        roles/gguf_quantize/files/recipes/*.yml Q8_0 Q6_K Q4_K_M IQ2_KS

About 80 seconds each. No importance matrix is given: with these file types it would change no type.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "verify"))
import project_collection  # noqa: F401
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import (
    Recipe,
    load_recipe,
    plain,
    predict,
    quantize_argv,
)

TENSOR = re.compile(r"^\[ *\d+/ *\d+\] +(\S+) - \[.*?\], type = +(\S+), (?s:(.*?))size = ", re.MULTILINE)


def engine_says(program: str, source: Path, recipe: Recipe) -> tuple[float, dict[str, str]]:
    """MiB in all, and each tensor's type."""
    argv = quantize_argv(recipe, program, str(source), "/dev/null", "", 0)
    run = subprocess.run([argv[0], "--dry-run", *argv[1:]], capture_output=True, text=True, check=True)
    text = run.stdout + run.stderr
    types = {}
    for name, before, words in TENSOR.findall(text):
        found = re.search(r"converting to (\S+)", words)
        types[name] = found.group(1) if found else before
    size = re.search(r"quant size += +([\d.]+) MB", text)
    if not size:
        raise SystemExit(f"no size in what {program} says:\n{text[-2000:]}")
    return float(size.group(1)), types


def main(program: str, source_name: str, *asked: str) -> int:
    source = Path(source_name)
    with source.open("rb") as file:
        header = read_header(file, source.stat().st_size)
    wrong = 0
    print(f"{'recipe':<20} {'predicted bytes':>15} {'predicted MiB':>13} {'engine MiB':>11} {'tensors':>7} equal")
    for item in asked:
        recipe = (
            load_recipe(yaml.safe_load(Path(item).read_text())) if item.endswith(".yml") else plain(item, "qwen35moe")
        )
        recipe = dataclasses.replace(recipe, requires_imatrix=False)
        predicted = predict(recipe, header, None, "")
        mib, types = engine_says(program, source, recipe)
        wanted = {tensor.name: tensor.type for tensor in predicted.tensors}
        differ = [name for name in wanted if types.get(name) != wanted[name]]
        equal = not differ and round(predicted.tensor_bytes / 2**20, 2) == mib
        wrong += not equal
        print(
            f"{Path(item).stem:<20} {predicted.tensor_bytes:>15} {predicted.tensor_bytes / 2**20:>13.2f} {mib:>11.2f}"
            f" {len(types):>7} {'yes' if equal else 'NO'}",
            flush=True,
        )
        for name in differ[:20]:
            print(f"    {name}: predicted {wanted[name]}, the engine says {types.get(name)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    raise SystemExit(main(*sys.argv[1:]))
