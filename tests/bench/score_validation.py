#!/usr/bin/env python3
"""Compare the score of recipes with measured perplexities: those of the mixes that Thireus' GGUF Tool Suite publishes.

Their file names carry bits per weight and perplexity, the files carry the type of each tensor. Needs a clone of that
repository, at the commit that the sensitivities name::

    git clone https://github.com/Thireus/GGUF-Tool-Suite /var/tmp/suite
    git -C /var/tmp/suite checkout 384c1f85b77b30f2b388328af278aea0900f6ca1
    tests/bench/score_validation.py /var/tmp/suite --plot docs/dev/score.svg

``--write`` makes the data files in ``roles/gguf_quantize/files/sensitivities`` anew from the clone's tables: figures
alone, and the fit. Nothing is fitted for the score itself; the line from score to perplexity is, and the mixes of one
size are left out of the fit that they are compared with.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import math
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "verify"))
import project_collection  # noqa: E402, F401

sys.path.insert(0, str(PROJECT / "tests/unit"))

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import bytes_per_token, hyperparameters  # noqa: E402
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import TYPES, Tensor, read_header, tensor_bytes  # noqa: E402
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.score import (  # noqa: E402
    Sensitivities,
    load_sensitivities,
    score,
)
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream  # noqa: E402

FOLDER = PROJECT / "roles/gguf_quantize/files/sensitivities"
MODELS = ("Qwen3.5-35B-A3B", "Qwen3.6-35B-A3B")
#: Mixes of less are shown and not fitted: their perplexities no longer follow the score.
LEAST_BITS = 1.95
LICENCE = (
    "MIT-like: free use if Thireus, the GGUF Tool Suite and its contributors get clear and visible credit wherever it"
    " is used; the README of the models says MIT"
)


class Clone:
    """The files of a repository as its HEAD has them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commit = self._git("rev-parse", "HEAD").strip()
        self.files = self._git("ls-tree", "-r", "--name-only", "HEAD").splitlines()

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", str(self.path), *words], check=True, capture_output=True, text=True)
        return done.stdout

    def read(self, name: str) -> str:
        return self._git("show", f"HEAD:{name}")


@dataclass(frozen=True)
class Mix:
    """A published recipe: bits per weight and perplexity as its name says, and the type of each tensor."""

    bits: float
    perplexity: float
    failed: bool
    types: dict[str, str]


def mixes(clone: Clone, model: str) -> list[Mix]:
    """Return the published mixes of a model, the largest first."""
    found = []
    names = [tensor.name for tensor in qwen35_tensors()]
    for path in clone.files:
        name = re.fullmatch(rf"{re.escape(model)}\.[A-Z_]+-([\d.]+)bpw-([\d.]+?)ppl.*\.recipe(\.txt)?", Path(path).name)
        if not name or not re.match(r"(unsuccessful_)?recipe_examples/", path):
            continue
        lines = [line.strip() for line in clone.read(path).splitlines() if line.startswith("^")]
        rules = [(re.compile(pattern), kind) for pattern, _equals, kind in (line.rpartition("=") for line in lines)]
        types = {tensor: next(kind for pattern, kind in rules if pattern.search(tensor)) for tensor in names}
        found.append(Mix(float(name[1]), float(name[2]), path.startswith("unsuccessful"), types))
    return sorted(found, key=lambda mix: (-mix.bits, mix.perplexity))


def ranks(values: Any) -> Any:
    """Return ranks, equal values sharing the mean of theirs."""
    array = np.asarray(values, dtype=float)
    found = np.argsort(np.argsort(array)).astype(float)
    for value in set(array.tolist()):
        found[array == value] = found[array == value].mean()
    return found


def rank_correlation(left: Any, right: Any) -> float:
    """Return Spearman's rank correlation."""
    return float(np.corrcoef(ranks(left), ranks(right))[0, 1])


@dataclass(frozen=True)
class Validation:
    """What the mixes of one model say. ``predicted``: perplexities by fits without the mixes of the same size."""

    scores: list[float]
    fitted: list[int]
    base: float
    slope: float
    predicted: dict[int, float]
    error: float


def validate(found: list[Mix], scores: list[float]) -> Validation:
    """Fit ln(perplexity) to the score by a straight line, and predict each size by the others."""
    fitted = [index for index, mix in enumerate(found) if mix.bits >= LEAST_BITS]
    x = np.array([scores[index] for index in fitted])
    y = np.log([found[index].perplexity for index in fitted])
    slope, base = np.polyfit(x, y, 1)
    sizes = np.array([round(found[index].bits, 1) for index in fitted])
    predicted = {}
    for size in sorted(set(sizes.tolist())):
        others = sizes != size
        line = np.polyfit(x[others], y[others], 1)
        for place in np.flatnonzero(~others):
            predicted[fitted[place]] = float(np.exp(np.polyval(line, x[place])))
    errors = [predicted[index] / found[index].perplexity - 1 for index in fitted]
    return Validation(
        scores, fitted, float(np.exp(base)), float(slope), predicted, math.sqrt(float(np.mean(np.square(errors))))
    )


def concordant(found: list[Mix], scores: list[float]) -> tuple[int, int]:
    """Return how many pairs of mixes of one size, whose perplexities differ by 0.5 %, the score has in order."""
    right = pairs = 0
    for index, one in enumerate(found):
        for other, another in enumerate(found[:index]):
            if abs(one.bits - another.bits) < 0.02 and abs(math.log(one.perplexity / another.perplexity)) > 0.005:
                pairs += 1
                right += (one.perplexity > another.perplexity) == (scores[index] > scores[other])
    return right, pairs


def report(model: str, found: list[Mix], result: Validation) -> None:
    """Print what the documentation shows."""
    print(f"{model}: ln(perplexity) = ln({result.base:.3f}) + {result.slope:.3f} x score")
    print(f"{'bits':>6} {'score':>8} {'perplexity':>11} {'predicted':>10} {'error':>8}")
    for index, mix in enumerate(found):
        line = f"{mix.bits:6.2f} {result.scores[index]:8.4f} {mix.perplexity:11.3f}"
        if index in result.predicted:
            value = result.predicted[index]
            line += f" {value:10.3f} {100 * (value / mix.perplexity - 1):+7.1f}%"
        else:
            line += f" {'-':>10} {'-':>8}"
        print(line + ("  listed as unsuccessful" if mix.failed else ""))
    measured = [mix.perplexity for mix in found]
    inside = [found[index].perplexity for index in result.fitted]
    right, pairs = concordant(found, result.scores)
    print(f"rank correlation, all {len(found)} mixes: {rank_correlation(result.scores, measured):.3f}")
    print(f"   of bits per weight alone: {rank_correlation([-mix.bits for mix in found], measured):.3f}")
    print(
        f"rank correlation of predictions for left-out mixes ({len(inside)} of {LEAST_BITS} bits and more):"
        f" {rank_correlation([result.predicted[index] for index in result.fitted], inside):.3f}"
    )
    worst = max(abs(result.predicted[index] / found[index].perplexity - 1) for index in result.fitted)
    print(f"error for left-out mixes: {100 * result.error:.2f} % (root mean square), at most {100 * worst:.1f} %")
    print(f"pairs of one size in the right order: {right} of {pairs}\n")


def plot(path: Path, all_found: dict[str, tuple[list[Mix], Validation]]) -> None:
    """Draw perplexity over score, a panel for each model."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "score", "font.size": 9})
    figure, panels = plt.subplots(1, len(all_found), figsize=(9, 3.6), sharey=True)
    for panel, (model, (found, result)) in zip(panels, all_found.items()):
        for failed, marker, label in ((False, "o", "published mix"), (True, "x", "listed as unsuccessful")):
            chosen = [index for index, mix in enumerate(found) if mix.failed == failed]
            panel.plot(
                [result.scores[index] for index in chosen],
                [found[index].perplexity for index in chosen],
                marker,
                markersize=4,
                label=label,
            )
        fitted = [result.scores[index] for index in result.fitted]
        x = np.geomspace(min(fitted), max(fitted), 30)
        panel.plot(x, result.base * np.exp(result.slope * x), "-", linewidth=1, label="fit, 1.95 bits and more")
        panel.set(title=model, xlabel="score", xscale="log", yscale="log")
        for set_ticks, ticks in (
            (panel.set_xticks, (0.01, 0.03, 0.1, 0.3, 1, 3)),
            (panel.set_yticks, (6.5, 7, 8, 10, 15, 20, 40)),
        ):
            set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("perplexity")
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    path.write_text("".join(line.rstrip() + "\n" for line in path.read_text().splitlines()))


def table(clone: Clone, name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(clone.read(name))))


def figures(clone: Clone, model: str) -> dict[str, Any]:
    """Return the data of sensitivities as the clone has them, without what is fitted."""
    folder = f"models/{model}"
    names = {"tensors": f"{folder}/kld_results.csv", "types": f"{folder}/group0/kld_results_partial.csv"}
    head, row = table(clone, names["tensors"])
    # Types that could not be measured have 404 there.
    types = {kind: float(cost) for kind, cost in table(clone, names["types"])[1:] if float(cost) != 404}
    return {
        "model": model,
        "architecture": "qwen35moe",
        "origin": {
            "project": "Thireus' GGUF Tool Suite",
            "url": "https://github.com/Thireus/GGUF-Tool-Suite",
            "commit": clone.commit,
            "licence": LICENCE,
            "files": {name: hashlib.sha256(clone.read(name).encode()).hexdigest() for name in names.values()},
        },
        "measured_with": row[0],
        "tensors": dict(zip(head[1:], map(float, row[1:]))),
        "types": {kind: cost for kind, cost in types.items() if kind in TYPES},
    }


def as_yaml(
    data: dict[str, Any], found: list[Mix], result: Validation, error: float, sizes: list[tuple[int, int]]
) -> str:
    """Return a data file's text: layers of one kind of tensor together."""
    origin = data["origin"]
    lines = [
        "---",
        f"# How much {data['model']} suffers from quantizing, as {origin['project']} measured it. Figures alone, by",
        "# tests/bench/score_validation.py --write; plugins/module_utils/gguf/score.py says what they mean.",
        f"model: {data['model']}",
        f"architecture: {data['architecture']}",
        "origin:",
        f"  project: {origin['project']}",
        f"  url: {origin['url']}",
        f"  commit: {origin['commit']}",
        *wrapped("  licence: >-", origin["licence"].split(" ")),
        "  files:",
        *(f"    {name}: {digest}" for name, digest in origin["files"].items()),
        "# KL divergence from BF16 where one tensor alone has this type, by layer.",
        f"measured_with: {data['measured_with']}",
        "tensors:",
    ]
    groups: dict[str, list[str]] = {}
    for name, value in data["tensors"].items():
        layer = re.match(r"blk\.(\d+)\.", name)
        group = re.sub(r"\.\d+\.", ".*.", name, count=1) if layer else name
        groups.setdefault(group, []).append(f"{layer[1]}: {value:.6f}," if layer else f"{value:.6f}")
    for group, values in groups.items():
        if ": " in values[0]:
            lines += wrapped(f"  {group}:", ["{" + values[0], *values[1:-1], values[-1].rstrip(",") + "}"], 1)
        else:
            lines.append(f"  {group}: {values[0]}")
    lines += ["# KL divergence where every tensor has this type.", "types:"]
    lines += [f"  {kind}: {cost:g}" for kind, cost in data["types"].items()]
    fitted = [result.scores[index] for index in result.fitted]
    lines += [
        "# ln(perplexity) = ln(base) + slope * score, for scores from lowest to highest; error: root mean square,",
        "# relative, of the predictions for mixes that were left out of the fit, of the worse of the two models: mixes",
        "# of one method and one maker say little about other recipes.",
        "perplexity:",
        f"  base: {result.base:.4f}",
        f"  slope: {result.slope:.4f}",
        f"  error: {error:.4f}",
        f"  lowest: {min(fitted):.4f}",
        f"  highest: {max(fitted):.4f}",
        f"  mixes: {len(fitted)}",
        "# Published mixes: bits and perplexity as their file names say, the rest computed from their types.",
        "mixes:",
    ]
    for mix, total, (size, read) in zip(found, result.scores, sizes):
        lines.append(
            f"  - {{bits: {mix.bits:.4f}, perplexity: {mix.perplexity:.4f}, score: {total:.4f}, tensor_bytes: {size},"
            f" bytes_per_token: {read}}}"
        )
    return "\n".join(lines) + "\n"


def wrapped(head: str, words: list[str], inside: int = 0) -> list[str]:
    """Return `head` and lines of `words` below it, indented by two, all but the first of them by `inside` more."""
    indent = " " * (len(head) - len(head.lstrip()) + 2)
    # A layer stays with its value.
    text = " ".join(word.replace(" ", "\0") for word in words)
    lines = textwrap.wrap(text, 130, initial_indent=indent, subsequent_indent=indent + " " * inside)
    return [head, *(line.replace("\0", " ") for line in lines)]


def sizes_of(mix: Mix) -> tuple[int, int]:
    """Return bytes of tensors and bytes read for a token."""
    hparams = hyperparameters(read_header(stream(QWEN35_METADATA, qwen35_tensors())))
    tensors = [Tensor(tensor.name, tensor.shape, mix.types[tensor.name]) for tensor in qwen35_tensors()]
    return sum(tensor_bytes(tensor.type, tensor.shape) for tensor in tensors), bytes_per_token(tensors, hparams)[
        "total"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    parser.add_argument("--plot", type=Path, help="write a plot (SVG)")
    parser.add_argument("--write", action="store_true", help="make the data files anew from the clone")
    asked = parser.parse_args()
    clone = Clone(asked.clone)
    all_found, all_data = {}, {}
    for model in MODELS:
        path = FOLDER / f"{model.lower()}.yml"
        data = figures(clone, model) if asked.write else yaml.safe_load(path.read_text(encoding="utf-8"))
        if data["origin"]["commit"] != clone.commit:
            sys.exit(f"{asked.clone} is at {clone.commit}; {path.name} is from {data['origin']['commit']}")
        sensitivities: Sensitivities = load_sensitivities(data)
        found = mixes(clone, model)
        scores = [score(mix.types, data["architecture"], sensitivities) for mix in found]
        all_found[model] = found, validate(found, scores)
        all_data[path] = data
        report(model, *all_found[model])
    if asked.write:
        error = max(result.error for _found, result in all_found.values())
        FOLDER.mkdir(exist_ok=True)
        for (path, data), (found, result) in zip(all_data.items(), all_found.values()):
            text = as_yaml(data, found, result, error, [sizes_of(mix) for mix in found])
            path.write_text(text, encoding="utf-8")
    if asked.plot:
        plot(asked.plot, all_found)


if __name__ == "__main__":
    main()
