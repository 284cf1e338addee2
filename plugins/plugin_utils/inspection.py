"""What a GGUF file means for boards, as data and as text. All functions but `kinds_of_boards` are pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import MEMORY_OPTIONS, footprint
from ansible_collections.ik_llama.pi.plugins.plugin_utils import hazards
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_forecast import (
    BOARDS,
    GIB,
    MIB,
    WIDTH,
    board_of,
    estimate_lines,
    estimated,
    fleet_forecast,
)
from ansible_collections.ik_llama.pi.plugins.plugin_utils.roles import default
from ansible_collections.ik_llama.pi.plugins.plugin_utils.tables import Table, text_table

#: Contexts in tokens for which the memory is shown, as far as the model has them.
CONTEXTS = (4096, 16384, 32768, 65536, 131072, 262144)
#: Boards are of this architecture; which release they have is not asked.
RELEASE = {"architecture": "aarch64"}


def kinds_of_boards() -> list[dict[str, Any]]:
    """Return a board of each known kind, with the default options of its server."""
    server = {name: default(f"llama_server_{name}", "llama_server") for name in ("context", *MEMORY_OPTIONS)}
    server["reserve_mib"] = default("llama_server_memory_reserve_mib", "llama_server")
    return [board_of(kind, kind, 0, 0, 0, None, {**server, "recipe": ""}) for kind in BOARDS]


def inspection(
    found: Mapping[str, Any], boards: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return all that is known of a file.

    Args:
        found: result of module `gguf_file_info`.
        boards: as `board_of` gives them; none for one of each kind.
        known: the known hazards (``llama_server_hazards``).

    Returns:
        ``found`` without the type of each tensor, and ``boards`` (as `fleet_forecast` returns them, ``models`` being
        the one result ``fit``), ``memory`` (a list of ``context`` and ``bytes`` by purpose with the ``total``, for the
        options of the first board) and ``hazards`` (as `hazards.of_deployment` returns them, for engines of any age).
    """
    forecast = found["forecast"]
    asked = list(boards) or kinds_of_boards()
    fleet = fleet_forecast({}, {"file": forecast}, asked)
    fitted = [
        {**{key: value for key, value in board.items() if key != "models"}, "fit": board["models"]["file"]}
        for board in fleet["boards"]
    ]
    options = {name: asked[0][name] for name in MEMORY_OPTIONS}
    most = forecast["hparams"]["context"] or CONTEXTS[-1]
    kept = (
        "location",
        "bytes",
        "transferred",
        "name",
        "license",
        "base_models",
        "chat_template",
        "sha256",
        "tensor_groups",
        "bits",
    )
    return {
        **{key: found[key] for key in (*kept, "follows", "nearest", "claimed")},
        "forecast": {key: value for key, value in forecast.items() if key != "types"},
        "boards": fitted,
        "memory": [
            {"context": context, "bytes": footprint(forecast, context, **options)}
            for context in CONTEXTS
            if context <= most
        ],
        "hazards": hazards.of_deployment(
            known,
            RELEASE,
            forecast["types"],
            model_architecture=forecast["architecture"],
            parallel=max(board["parallel"] for board in asked),
        ),
    }


def _departures(title: str, compared: Mapping[str, Any]) -> tuple[str, list[str], Table | None]:
    head = ["tensors", "number", "are", "would be"]
    rows = [[item["group"], str(item["tensors"]), item["is"], item["by_recipe"]] for item in compared["departures"]]
    equal = compared["tensors"] - compared["differ"]
    words = [f"{equal} of {compared['tensors']} tensors have the types of {compared['kind']} {compared['name']}."]
    return title, words, (head, "lrll", rows) if rows else None


def _sections(report: Mapping[str, Any]) -> list[tuple[str, list[str], Table | None]]:
    """Return title, lines of text, and table of each section."""
    forecast = report["forecast"]
    read = forecast["bytes_per_token"]
    file = [
        f"{report['location']}, {report['bytes']:,} bytes ({report['bytes'] / GIB:.2f} GiB)"
        + (f", of which {report['transferred']:,} were read" if report["transferred"] else ""),
        f"{report['name'] or 'without a name'}, architecture {forecast['architecture']},"
        f" {forecast['hparams']['elements'] / 1e9:.2f} billion weights of {report['bits']:.2f} bits in the mean,"
        f" trained for a context of {forecast['hparams']['context']:,}"
        + ("." if report["chat_template"] else ", without a chat template."),
        f"Generation reads {read['total'] / 1e6:,.0f} MB of weights for a token, {read['always'] / 1e6:,.0f} MB in any"
        f" case and the rest of experts. Least bits of what every token reads: {forecast['least_bits']:.2f}.",
        *(
            f"sha256 of {part['name']}: {part['sha256']} (by the {part['by']})"
            if part["sha256"]
            else f"sha256 of {part['name']}: not known"
            for part in report["sha256"]
        ),
    ]
    if report["follows"]:
        verdict = f"It follows {' and '.join(report['follows'])}, tensor by tensor."
    elif report["nearest"]:
        verdict = f"It follows no known recipe; the nearest is {report['nearest']['name']}."
    else:
        verdict = "It follows no known recipe, and none is near."
    sections: list[tuple[str, list[str], Table | None]] = [("File", file, None), ("Recipe", [verdict], None)]
    if "estimate" in forecast:
        said = "Score {}, estimated perplexity {}.".format(*estimated(forecast))
        sections.append(("Score", [said, *estimate_lines({"file": forecast})], None))
    elif "no_estimate" in forecast:
        sections.append(("Score", estimate_lines({"file": forecast}), None))
    if report["nearest"].get("differ"):
        sections.append(_departures(f"Departures from {report['nearest']['name']}", report["nearest"]))
    if report["claimed"]:
        sections.append(
            _departures(f"Departures from what is claimed ({report['claimed']['name']})", report["claimed"])
        )
    rows = [
        [row["group"], row["type"], str(row["tensors"]), f"{row['bytes'] / MIB:,.1f}", f"{row['bits']:.2f}"]
        for row in report["tensor_groups"]
    ]
    sections.append(("Tensors", [], (["tensors", "type", "number", "MiB", "bits"], "llrrr", rows)))
    rows = [
        [f"{item['context']:,}", f"{item['bytes']['total'] / MIB:,.0f}", f"{item['bytes']['kv_cache'] / MIB:,.0f}"]
        for item in report["memory"]
    ]
    sections.append(("Memory by context", [], (["context", "MiB", "of them KV cache"], "rrr", rows)))
    rows = [
        [
            ", ".join(board["names"]),
            f"{board['fit']['need_mib']:,} MiB",
            f"{board['fit']['room_mib']:,} MiB",
            f"{board['context']:,}",
            f"{board['fit']['longest_context']:,}" if board["fit"]["longest_context"] else "-",
            f"{board['fit']['tokens_per_second']:.1f}",
            board["fit"]["verdict"],
        ]
        for board in report["boards"]
    ]
    head = ["board", "memory", "of", "at context", "longest context", "tokens/s at most", "verdict"]
    sections.append(("Boards", [], (head, "lrrrrrl", rows)))
    if report["hazards"]:
        words = ["Which engine will serve it is not asked; some of them are corrected in newer ones."]
        sections.append(("Hazards", [*words, *(f"- {item['text']}" for item in report["hazards"])], None))
    return sections


def as_text(report: Mapping[str, Any]) -> str:
    """Return the report for a terminal. No line ends in a space."""
    lines = []
    for title, words, table in _sections(report):
        lines += [title, "-" * len(title), *(line for word in words for line in textwrap.wrap(word, WIDTH))]
        if table:
            lines += text_table(table)
        lines.append("")
    return "\n".join(lines)
