#!/usr/bin/env python3
"""Measure what our quantizing costs compared with bare llama-quantize: CPU seconds (user and system) of both.

Runs the playbook on a source that must not have been quantized before, then llama-quantize alone with the same
arguments. Ours counts all of ansible-playbook (checks, sha256 of source and result, comparison, progress) and what the
detached llama-quantize took, as its supervisor noted it::

    tests/bench/full_shape.py /somewhere/two.gguf --layers 2 --filled
    tests/bench/quantize_cost.py /somewhere/two.gguf /somewhere/models

The recipe is ``rpi5-16gb-card`` without its importance matrix: there is none for weights that are made up.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = PROJECT / "roles/gguf_quantize/files/recipes/rpi5-16gb-card.yml"


def cpu_seconds(argv: list[str], chdir: str) -> float:
    """CPU seconds of a command and of all that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, cwd=chdir, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("models", type=Path, help="folder for the models; is not there yet")
    asked = parser.parse_args()
    if asked.models.exists():
        parser.error(f"{asked.models} is there already")
    asked.models.mkdir(parents=True)
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["requires_imatrix"] = False
    (asked.models / "cost.yml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    variables = {
        "gguf_quantize_name": "cost",
        "gguf_quantize_root": str(asked.models.absolute()),
        "gguf_quantize_source": str(asked.source.absolute()),
        "gguf_quantize_imatrix": "",
        "gguf_quantize_recipe": str(asked.models.absolute() / "cost.yml"),
    }
    playbook = [
        "ansible-playbook",
        "--inventory=lab/inventory/containers.yml",
        "playbooks/quantize.yml",
        "-e",
        json.dumps(variables),
    ]
    around = cpu_seconds(playbook, str(PROJECT))
    jobs = asked.models / ".jobs/quantize"
    engine = json.loads((jobs / "exit.json").read_text(encoding="utf-8"))["cpu_seconds"]
    again = cpu_seconds(playbook, str(PROJECT))
    job = json.loads((jobs / "job.json").read_text(encoding="utf-8"))
    bare_result = asked.models / "bare.gguf"
    argv = [str(bare_result) if word.endswith(".part") else word for word in job["argv"]]
    bare = cpu_seconds(argv, job["chdir"])
    bare_result.unlink()
    print(f"bare llama-quantize              {bare:8.1f} s")
    print(f"ours: llama-quantize             {engine:8.1f} s")
    print(f"ours: all the rest               {around:8.1f} s, {100 * around / engine:.1f} % of it")
    print(f"  of which any run costs         {again:8.1f} s (a second run, with nothing to do)")


if __name__ == "__main__":
    main()
