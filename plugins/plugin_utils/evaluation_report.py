"""Show what quantizing costs models, and what an importance matrix covers.

An evaluation is what role gguf_evaluate sets as ``gguf_evaluate_result``: `name`, `id`, `text`, `source`, `engine`,
`context` and `models`, each with `recipes`, `size`, `tensor_bytes` and `figures` (see module_utils/gguf/evaluation.py).
All functions are pure.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.calibration import coverage_warnings
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_forecast import WIDTH
from ansible_collections.ik_llama.pi.plugins.plugin_utils.tables import Table, markdown_table, text_table

GIB = 1 << 30


def ordered(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the models that were measured, the one nearest to the source first."""
    measured = [model for model in evaluation["models"] if model["figures"]]
    return sorted(measured, key=lambda model: (model["figures"]["kl_divergence"]["value"], model["id"]))


def _figure(figure: Mapping[str, Any], digits: int) -> str:
    """Return a figure with its uncertainty, where there is one."""
    error = figure["error"]
    return f"{figure['value']:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")


def table(evaluation: Mapping[str, Any]) -> Table:
    """Return a row for each model."""
    rows = []
    for model in ordered(evaluation):
        figures = model["figures"]
        rows.append(
            [
                ", ".join(model["recipes"]),
                f"{model['size'] / GIB:.2f} GiB",
                _figure(figures["kl_divergence"], 5),
                f"{figures['kl_percentiles']['p99']:.4f}",
                _figure(figures["perplexity"], 4),
                _figure(figures["perplexity_ratio"], 4),
                _figure(figures["same_top_percent"], 2) + " %",
            ]
        )
    head = ["recipe", "file", "KL divergence", "99 % below", "perplexity", "over the source's", "same top token"]
    return head, "lrrrrrr", rows


def sentences(evaluation: Mapping[str, Any]) -> list[str]:
    """Return what was compared with what."""
    models = ordered(evaluation)
    if not models:
        return [f"No model of {evaluation['name']} was measured."]
    figures = models[0]["figures"]
    base = figures["base_perplexity"]
    return [
        f"{evaluation['name']}: models compared with {figures['source']['file']}, of perplexity {_figure(base, 4)},"
        f" over {figures['chunks']} chunks of {figures['context']} tokens of {figures['text']['file']} (sha256"
        f" {figures['text']['sha256'][:12]}), by the engine's commit {figures['engine']['commit'][:12]}. Evaluation"
        f" {evaluation['id']}.",
        "Figures of other texts, contexts or engines cannot be compared with these. ± is the uncertainty of the mean.",
    ]


def as_text(evaluation: Mapping[str, Any]) -> str:
    """Return the evaluation for a terminal. No line ends in a space."""
    lines = [line for sentence in sentences(evaluation) for line in textwrap.wrap(sentence, WIDTH)]
    if ordered(evaluation):
        lines += ["", *text_table(table(evaluation))]
    return "\n".join(lines)


def as_markdown(evaluation: Mapping[str, Any]) -> str:
    """Return the evaluation as Markdown."""
    lines = [f"# Evaluation of {evaluation['name']}", *(f"- {sentence}" for sentence in sentences(evaluation))]
    if ordered(evaluation):
        lines += ["", *markdown_table(table(evaluation))]
    return "\n".join(lines) + "\n"


def plot(evaluation: Mapping[str, Any]) -> str:
    """Return KL divergence over size as SVG; empty where matplotlib is not installed on the controller."""
    models = ordered(evaluation)
    try:
        import matplotlib  # noqa: PLC0415
    except ImportError:
        return ""
    if not models:
        return ""
    matplotlib.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "evaluation", "font.size": 9})
    figure, panel = plt.subplots(figsize=(7.5, 4.2))
    for model in models:
        divergence = model["figures"]["kl_divergence"]
        place = (model["size"] / 1e9, divergence["value"])
        panel.errorbar(*place, yerr=divergence["error"] or 0, fmt="o", color="black", markersize=4, capsize=2)
        label = ", ".join(model["recipes"])
        panel.annotate(label, place, xytext=(5, 4), textcoords="offset points", fontsize=7)
    panel.set(xlabel="file, GB", ylabel="KL divergence from the source", title=evaluation["name"])
    # A model that equals its source has none, which a logarithm cannot show.
    if min(model["figures"]["kl_divergence"]["value"] for model in models) > 0:
        panel.set_yscale("log")
    panel.margins(x=0.2, y=0.2)
    panel.grid(alpha=0.3)
    figure.tight_layout()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "".join(line.rstrip() + "\n" for line in drawn.getvalue().splitlines())


def imatrix_as_text(plan: Mapping[str, Any]) -> str:
    """Return what an importance matrix covers, and how it is used, for a terminal (``gguf_evaluate_imatrix_plan``)."""
    manifest = plan["manifest"]
    covered = manifest["coverage"]
    tensors = covered["tensors"]
    paragraphs = [
        f"Importance matrix {manifest['id']} of {manifest['text']['file']} ({manifest['chunks']} chunks of"
        f" {manifest['context']} tokens) for {manifest['source']['file']}: entries for"
        f" {tensors - len(covered['lacking'])} of {tensors} tensors that can use one."
    ]
    for kind, row in covered["experts"].items():
        reached = row["experts"] - row["without_data"]
        paragraphs.append(f"{kind}: data for {reached} of {row['experts']} experts of all layers together.")
    paragraphs += [f"{warning}." for warning in coverage_warnings(covered)]
    lines = [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, WIDTH)]
    return "\n".join([*lines, f"To use it, set gguf_quantize_imatrix: {plan['path']}", ""]).rstrip("\n")
