"""Show a recipe that was found: its file, what it costs, and the trade-off of size, speed and score.

A solution is what role gguf_quantize sets as ``gguf_quantize_solution`` (see module_utils/gguf/search.py), with
``name``, ``board`` and ``forecasts`` (of other recipes, by name). All functions are pure.
"""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_forecast import WIDTH, estimated
from ansible_collections.ik_llama.pi.plugins.plugin_utils.tables import Table, markdown_table, text_table

# Published mixes that are farther away than this from the size of the recipe are left out of tables and plots.
_NEAR = 1.4


class _Dumper(yaml.SafeDumper):
    """Lists are indented, as yamllint wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


def _found_lines(solution: Mapping[str, Any]) -> list[str]:
    """Return what the recipe is and costs."""
    found, board = solution["found"], solution["board"]
    estimate = found["estimate"]
    limits = found["limits"]
    score, perplexity = estimated({"estimate": estimate})
    reading = f"{limits['bytes_per_token']:,}" if limits["bytes_per_token"] else "any number of"
    lines = [
        f"For {board['memory_mib']:,} MiB of memory, {board['reserve_mib']:,} of them left to the system, a context of"
        f" {board['context']:,} and {board['bandwidth_gbs']:g} GB/s: at most {limits['tensor_bytes']:,} bytes of"
        f" tensors, and {reading} bytes read for a token.",
        f"{found['tensor_bytes']:,} bytes of tensors; {found['bytes_per_token']:,} bytes read for a token, at most"
        f" {found['tokens_per_second']:.2f} tokens/s.",
    ]
    if found["by_bits"]:
        lines.append(
            "Solved by bits alone: every weight counts the same. Nothing is known of what it does to the answers."
        )
    else:
        lines.append(
            f"Score {score}, perplexity about {perplexity}, by sensitivities of {estimate['model']}"
            f" ({estimate['source']}). Computed, not measured: docs/dev/score.md says how far to trust it."
        )
    lines.append(
        f"{found['rules']} types for kinds of tensors and ranges of layers. No assignment of types has a score below"
        f" {found['bound']:.4f}: readability costs at most {100 * found['loss']:.1f} % of the score."
    )
    return lines


def as_yaml(solution: Mapping[str, Any]) -> str:
    """Return the text of the recipe's file."""
    comment = [line for text in _found_lines(solution) for line in textwrap.wrap(text, 120)]
    # Ansible marks values in ways that a dumper does not know.
    recipe = json.loads(json.dumps(solution["recipe"]))
    data = yaml.dump(recipe, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=130)
    return "---\n" + "".join(f"# {line}\n" for line in comment) + data


def _rules_table(solution: Mapping[str, Any], quote: str) -> Table:
    recipe = solution["recipe"]
    rows = [[key, recipe[key]["type"], recipe[key]["reason"]] for key in ("token_embedding", "output")]
    rows += [[f"{quote}{rule['match']}{quote}", rule["type"], rule["reason"]] for rule in recipe["rules"]]
    return ["tensors", "type", "reason"], "lll", rows


def points(solution: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return recipes with a score, and published mixes of about the size of the recipe that was found.

    Each has ``name``, ``kind`` (``found``, ``recipe`` or ``mix``), ``tensor_bytes``, ``bytes_per_token``, ``score`` and
    ``perplexity`` (measured, of mixes; None elsewhere).
    """
    found = solution["found"]
    rows = [{"name": solution["name"], "kind": "found", "score": found["estimate"]["score"], **found}]
    for name, model in solution["forecasts"].items():
        if "estimate" in model and model["kind"] == "recipe" and name != solution["name"]:
            read = model["bytes_per_token"]["total"]
            rows.append({**model, "name": name, "kind": "recipe", "bytes_per_token": read, **model["estimate"]})
    for mix in solution["mixes"] if not found["by_bits"] else ():
        if 1 / _NEAR < mix["tensor_bytes"] / found["tensor_bytes"] < _NEAR:
            rows.append({**mix, "name": f"published mix, {mix['bits']:.2f} bits", "kind": "mix"})
    names = ("name", "kind", "tensor_bytes", "bytes_per_token", "score")
    return [
        {**{name: row[name] for name in names}, "perplexity": row["perplexity"] if row["kind"] == "mix" else None}
        for row in rows
    ]


def _points_table(solution: Mapping[str, Any]) -> Table:
    rows = [
        [
            point["name"],
            f"{point['tensor_bytes']:,.0f}",
            f"{point['bytes_per_token'] / 1e6:,.0f} MB",
            f"{point['score']:.3f}",
            f"{point['perplexity']:.2f} measured" if point["perplexity"] else "",
        ]
        for point in points(solution)
    ]
    return ["recipe", "tensor bytes", "read for a token", "score", "perplexity"], "lrrrr", rows


def _curve_table(solution: Mapping[str, Any]) -> Table:
    rows = [
        [
            f"{row['tensor_bytes']:,}",
            f"{row['bytes_per_token'] / 1e6:,.0f} MB",
            f"{row['score']:.3f}",
        ]
        for row in solution["curve"]
    ]
    return ["tensor bytes", "read for a token", "least score"], "rrr", rows


def _sections(solution: Mapping[str, Any], quote: str = "") -> list[tuple[str, list[str], Table | None]]:
    by_reason: dict[str, list[str]] = {}
    for kind, reason in solution["left_out"].items():
        by_reason.setdefault(reason, []).append(kind)
    return [
        (f"Recipe {solution['name']}", _found_lines(solution), _rules_table(solution, quote)),
        ("Compared with", ["Published mixes use types that are left out here."], _points_table(solution)),
        ("Trade-off", ["The least scores where each tensor has its best type."], _curve_table(solution)),
        ("Types that are left out", [f"{', '.join(kinds)}: {reason}." for reason, kinds in by_reason.items()], None),
    ]


def as_text(solution: Mapping[str, Any]) -> str:
    """Return the solution for a terminal. No line ends in a space."""
    lines = []
    for title, words, table in _sections(solution):
        lines += [title, "-" * len(title), *(line for word in words for line in textwrap.wrap(word, WIDTH))]
        if table:
            lines += text_table(table)
        lines.append("")
    return "\n".join(lines)


def as_markdown(solution: Mapping[str, Any]) -> str:
    """Return the solution as Markdown."""
    lines = []
    for title, words, table in _sections(solution, "`"):
        lines += ["", f"## {title}", *(f"- {line}" for line in words)]
        if table:
            lines += ["", *markdown_table(table)]
    return "\n".join(lines).lstrip("\n") + "\n"


def plot(solution: Mapping[str, Any]) -> str:
    """Return the trade-off as SVG; empty where matplotlib is not installed on the controller."""
    try:
        import matplotlib  # noqa: PLC0415
    except ImportError:
        return ""
    matplotlib.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "recipe", "font.size": 9})
    figure, panel = plt.subplots(figsize=(7.5, 4.2))
    for limit in sorted({row["limit"] for row in solution["curve"]}):
        rows = [row for row in solution["curve"] if row["limit"] == limit]
        read = max(row["bytes_per_token"] for row in rows)
        label = f"least score, {read / 1e6:,.0f} MB read for a token"
        panel.plot(
            [row["tensor_bytes"] / 1e9 for row in rows], [row["score"] for row in rows], linewidth=1, label=label
        )
    for kind, marker, label in (("found", "*", ""), ("recipe", "s", ""), ("mix", "x", "published mixes")):
        chosen = [point for point in points(solution) if point["kind"] == kind]
        sizes = [point["tensor_bytes"] / 1e9 for point in chosen]
        panel.plot(
            sizes, [point["score"] for point in chosen], marker, color="black", markersize=5, label=label or None
        )
        for size, point in zip(sizes, chosen):
            text = f"{point['bytes_per_token'] / 1e6:,.0f} MB"
            text = text if kind == "mix" else f"{point['name']}, {text}"
            panel.annotate(
                text,
                (size, point["score"]),
                xytext=(4, -9 if kind == "recipe" else 3),
                textcoords="offset points",
                fontsize=7,
            )
    panel.set(xlabel="tensors, GB", ylabel="score", yscale="log")
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1) if panel.get_ylim()[0] <= tick <= panel.get_ylim()[1]]
    panel.set_yticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    figure.tight_layout()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "".join(line.rstrip() + "\n" for line in drawn.getvalue().splitlines())
