"""Forecast which model fits on which board, and how fast it could be at most, as data and as text.

All functions are pure. Sizes are bytes unless a name says otherwise; a table's MiB and GiB are 2^20 and 2^30 bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import fit, kv_cache_bytes, tokens_per_second
from ansible_collections.ik_llama.pi.plugins.plugin_utils.tables import Table, markdown_table, text_table

GIB = 1 << 30
MIB = 1 << 20

#: Boards by the name that ``fleet_forecast_board`` takes. Memory is what the kernel leaves to programs: of 16 GB it was
#: measured in a virtual machine, of the others it is the same share. The bandwidth was reported by users of the board;
#: the specification says 17.1 GB/s.
BOARDS: dict[str, dict[str, float]] = {
    "rpi5-16gb": {"memory_mib": 15818, "bandwidth_gbs": 11.0},
    "rpi5-8gb": {"memory_mib": 7909, "bandwidth_gbs": 11.0},
    "rpi5-4gb": {"memory_mib": 3925, "bandwidth_gbs": 11.0},
}


def board_of(
    name: str,
    kind: str,
    memory_mib: int,
    bandwidth_gbs: float,
    disk_free_mib: int,
    asked: Mapping[str, Any] | None,
    server: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a board as `fleet_forecast` takes it.

    Args:
        name: the host.
        kind: one of `BOARDS`.
        memory_mib, bandwidth_gbs, disk_free_mib: what the inventory declares instead; 0 where it does not.
        asked: the result of module `board_facts`, where the board was asked.
        server: ``recipe``, ``context``, ``reserve_mib`` and the options that its memory depends on.

    Raises:
        ValueError: for an unknown kind of board.
    """
    if kind not in BOARDS:
        raise ValueError(
            f"unknown kind of board (fleet_forecast_board = {kind!r}). Set it to one of {', '.join(BOARDS)}, and"
            " declare other values by fleet_forecast_memory_mib and fleet_forecast_bandwidth_gbs."
        )
    found = asked or {}
    return {
        "name": name,
        "kind": found.get("model") or kind,
        "asked": bool(asked),
        "memory_mib": int(memory_mib or found.get("memory_mib") or BOARDS[kind]["memory_mib"]),
        "disk_free_mib": int(disk_free_mib or found.get("disk_free_mib") or 0),
        "bandwidth_gbs": float(bandwidth_gbs or BOARDS[kind]["bandwidth_gbs"]),
        **server,
    }


def board_for_recipe(
    boards: Sequence[Mapping[str, Any]],
    name: str,
    kind: str,
    server: Mapping[str, Any],
    memory_mib: int = 0,
    context: int = 0,
    bandwidth_gbs: float = 0,
) -> dict[str, Any]:
    """Return the board that a recipe is sought for.

    Args:
        boards: those of the inventory, as `board_of` gives them.
        name: one of them, or one of `BOARDS`; empty for the first of them, or for `kind` where there are none.
        kind: see `name`.
        server: options of a server for a board that is not in the inventory.
        memory_mib, context, bandwidth_gbs: instead of the board's own; 0 for these.

    Raises:
        ValueError: for a name that is neither.
    """
    found = next((board for board in boards if name in ("", board["name"])), None)
    if not found:
        try:
            found = board_of(name or kind, name or kind, 0, 0, 0, None, server)
        except ValueError:
            raise ValueError(
                f"no such board (board = {name or kind!r}). Name a host of the group pis that this run takes in, or one"
                f" of {', '.join(BOARDS)}."
            ) from None
    own = {"memory_mib": int(memory_mib), "context": int(context), "bandwidth_gbs": float(bandwidth_gbs)}
    return {**found, **{key: value for key, value in own.items() if value}}


def _on_board(forecast: Mapping[str, Any], board: Mapping[str, Any]) -> dict[str, Any]:
    found = fit(forecast, board, board["memory_mib"], board["reserve_mib"])
    hparams = forecast["hparams"]
    bandwidth = board["bandwidth_gbs"] * 1e9
    read = forecast["bytes_per_token"]["total"]
    context = board["context"] // board["parallel"]
    kv_bytes = kv_cache_bytes(hparams, context, board["cache_type_k"], board["cache_type_v"])
    disk = board["disk_free_mib"]
    disk_fits = forecast["file_bytes"] <= disk * MIB if disk else None
    verdict = "fits" if found["fits"] else "does not fit in memory"
    if not found["fits"] and found["longest_context"]:
        verdict = f"fits only with a context of at most {found['longest_context']}"
    if disk_fits is False:
        verdict += f", and its file does not fit on the disk: {disk} MiB are free"
    return {
        **found,
        "disk_fits": disk_fits,
        "tokens_per_second": round(tokens_per_second(read, hparams, bandwidth), 2),
        "tokens_per_second_full": round(tokens_per_second(read, hparams, bandwidth, kv_bytes), 2),
        "verdict": verdict,
    }


def _room_for_weights(forecasts: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many bytes of weights a board can take at its context, and how many bits per weight that is."""
    for name, found in results.items():
        parts = found["parts"]
        room = found["room_mib"] * MIB - (parts["total"] - parts["weights"])
        return {"room_for_weights": room, "room_bits": round(room * 8 / forecasts[name]["hparams"]["elements"], 2)}
    return {"room_for_weights": 0, "room_bits": 0.0}


def fleet_forecast(
    source: Mapping[str, Any], forecasts: Mapping[str, Mapping[str, Any]], boards: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return everything that is known before anything is downloaded.

    Args:
        source: ``location`` and ``bytes`` of the file to quantize.
        forecasts: by name, as module `gguf_forecast_info` returns them.
        boards: as `board_of` gives them.

    Returns:
        ``source``, ``models`` (the forecasts without the type of each single tensor) and ``boards``, each with
        ``room_for_weights`` (bytes, at its context), ``room_bits`` (bits per weight) and ``models``: by name the result
        of `footprint.fit`, ``disk_fits`` (None where the disk is not known), ``tokens_per_second`` at most with an
        empty context, ``tokens_per_second_full`` with a full one, and a ``verdict``. Equal boards are one entry with
        their ``names``.
    """
    models = {
        name: {key: value for key, value in forecast.items() if key not in ("types", "hparams")}
        for name, forecast in forecasts.items()
    }
    usable = {name: forecast for name, forecast in forecasts.items() if "problem" not in forecast}
    entries: list[dict[str, Any]] = []
    for board in boards:
        rest = {key: value for key, value in board.items() if key != "name"}
        same = next((entry for entry in entries if all(entry[key] == value for key, value in rest.items())), None)
        if same:
            same["names"].append(board["name"])
            continue
        results = {name: _on_board(forecast, board) for name, forecast in usable.items()}
        entries.append({"names": [board["name"]], **rest, **_room_for_weights(usable, results), "models": results})
    return {"source": dict(source), "models": models, "boards": entries}


# Columns of running text in a terminal; tables may be wider.
WIDTH = 110


def _models_table(forecast: Mapping[str, Any], kind: str) -> Table:
    head = [
        "recipe" if kind == "recipe" else kind,
        "file bytes",
        "GiB",
        "read for a token",
        "score",
        "perplexity",
        "least bits",
        "rounded on ARM",
    ]
    rows = []
    for name, model in forecast["models"].items():
        if model["kind"] != kind or "problem" in model:
            continue
        rounded = len(model["rounded_on_arm"])
        rows.append(
            [
                name,
                f"{model['file_bytes']:,}" + ("" if model["exact"] else " +"),
                f"{model['file_bytes'] / GIB:.2f}",
                f"{model['bytes_per_token']['total'] / 1e6:,.0f} MB",
                *estimated(model),
                f"{model['least_bits']:.2f}",
                f"{rounded} kinds" if rounded else "none",
            ]
        )
    return head, "lrrrrrrl", rows


def estimated(model: Mapping[str, Any]) -> tuple[str, str]:
    """Return score and perplexity as a table has them."""
    found = model.get("estimate")
    if not found:
        return "-", "-"
    if found["perplexity"] is None:
        return f"{found['score']:.3f}", "not known" if found["outside"] else "-"
    return f"{found['score']:.3f}", f"{found['perplexity']:.2f} ± {found['perplexity_error']:.2f}"


def estimate_lines(models: Mapping[str, Any]) -> list[str]:
    """Return what score and perplexity are, and where they come from, or why there are none."""
    missing = sorted({model["no_estimate"] for model in models.values() if "no_estimate" in model})
    lines = [f"No score: {text}." for text in missing]
    found = next((model["estimate"] for model in models.values() if "estimate" in model), None)
    if found:
        lines.append(
            f"Score: how much the answers are expected to change, by the tensors' sensitivities of {found['model']}"
            f" ({found['source']}); 0 for the unquantized model. Perplexity: by a fit to measured mixes, ± twice its"
            " error for mixes that it had not seen; not known outside of what they cover. Estimates: nothing was"
            " measured here (docs/dev/score.md)."
        )
    return lines


def _fit_table(board: Mapping[str, Any], models: Mapping[str, Any]) -> Table:
    head = ["model", "memory", "of", "longest context", "tokens/s at most", "with full context", "score", "verdict"]
    rows = [
        [
            name,
            f"{found['need_mib']:,} MiB",
            f"{found['room_mib']:,} MiB",
            f"{found['longest_context']:,}" if found["longest_context"] else "-",
            f"{found['tokens_per_second']:.1f}",
            f"{found['tokens_per_second_full']:.1f}",
            estimated(models[name])[0],
            found["verdict"],
        ]
        for name, found in board["models"].items()
        if name in models
    ]
    return head, "lrrrrrrl", rows


def _memory_table(board: Mapping[str, Any], models: Mapping[str, Any]) -> Table:
    names = [name for name in board["models"] if models[name]["kind"] == "recipe"]
    parts = list(next(iter(board["models"].values()))["parts"])
    rows = [
        [part.replace("_", " "), *(f"{board['models'][name]['parts'][part] / MIB:,.0f}" for name in names)]
        for part in parts
    ]
    return ["MiB", *names], "l" + "r" * len(names), rows


def _groups_table(forecast: Mapping[str, Any]) -> Table:
    """Return the types of each kind of tensor under each recipe, without those that no recipe quantizes."""
    recipes = {
        name: model
        for name, model in forecast["models"].items()
        if model["kind"] == "recipe" and "problem" not in model
    }
    rows = []
    for group in next(iter(recipes.values()))["groups"] if recipes else ():
        kinds = [list(model["groups"].get(group, {})) for model in recipes.values()]
        if any(found != ["f32"] for found in kinds):
            rows.append([group, *(" / ".join(found) for found in kinds)])
    return ["tensors", *recipes], "l" * (1 + len(recipes)), rows


def _sections(forecast: Mapping[str, Any]) -> list[tuple[str, list[str], Table | None]]:
    """Return title, lines of text, and table of each section."""
    models = forecast["models"]
    source = forecast["source"]
    sections: list[tuple[str, list[str], Table | None]] = [
        (
            "Source",
            [
                f"{source['location']}, {source['bytes']:,} bytes ({source['bytes'] / GIB:.2f} GiB)"
                + (f", of which {source['transferred']:,} were read" if source.get("transferred") else "")
            ],
            None,
        ),
        (
            "Recipes",
            [
                "Read for a token: weights that generation reads. Least bits: of the tensors that every token reads.",
                "Rounded on ARM: kinds of tensors that engines from before 2026-09-22 round on aarch64.",
            ]
            + estimate_lines(models)
            + (
                []
                if all(model.get("exact", True) for model in models.values())
                else ["A + after the bytes: the importance matrix is not downloaded yet, and adds some hundred bytes."]
            ),
            _models_table(forecast, "recipe"),
        ),
        ("Tensor types", [], _groups_table(forecast)),
    ]
    warnings = [
        f"{name}: {line}"
        for name, model in models.items()
        for line in model.get("warnings", [])
        if model["kind"] == "recipe"
    ]
    warnings += [f"{name} cannot be used: {model['problem']}" for name, model in models.items() if "problem" in model]
    if warnings:
        sections.append(("Warnings", warnings, None))
    if any(model["kind"] == "file type" for model in models.values()):
        sections.append(
            (
                "Plain file types, for comparison",
                ["The engine's own choices, without a recipe."],
                _models_table(forecast, "file type"),
            )
        )
    for board in forecast["boards"]:
        how = "as it answered" if board["asked"] else "as declared, not asked"
        disk = (
            f"{board['disk_free_mib']:,} MiB of disk free" if board["disk_free_mib"] else "its free disk is not known"
        )
        lines = [
            f"{board['kind']}, {how}: {board['memory_mib']:,} MiB of memory, {disk}, {board['bandwidth_gbs']:g} GB/s.",
            f"Context {board['context']:,} in all, slots {board['parallel']}, KV cache {board['cache_type_k']} and"
            f" {board['cache_type_v']}, {board['reserve_mib']:,} MiB left to the system.",
        ]
        chosen = board["models"].get(board["recipe"].rsplit("/")[-1].removesuffix(".yml"))
        if board["room_for_weights"] > 0:
            lines.append(
                f"Room for {board['room_for_weights'] / 1e9:.2f} GB of weights at that context,"
                f" {board['room_bits']:.2f} bits per weight."
            )
        if chosen:
            lines.append(f"With its recipe {board['recipe']}, {chosen['sentence']}.")
        sections.append((", ".join(board["names"]), lines, _fit_table(board, models)))
        if board["models"]:
            sections.append((f"Memory of {', '.join(board['names'])} by purpose", [], _memory_table(board, models)))
    return sections


def as_text(forecast: Mapping[str, Any]) -> str:
    """Return the forecast for a terminal. No line ends in a space."""
    lines = []
    for title, words, table in _sections(forecast):
        lines += [title, "-" * len(title), *(line for word in words for line in textwrap.wrap(word, WIDTH))]
        if table:
            lines += text_table(table)
        lines.append("")
    return "\n".join(lines)


def as_markdown(forecast: Mapping[str, Any]) -> str:
    """Return the forecast as Markdown."""
    lines = ["# Forecast"]
    for title, words, table in _sections(forecast):
        lines += ["", f"## {title}", *(f"- {line}" for line in words)]
        if table:
            lines += ["", *markdown_table(table)]
    return "\n".join(lines) + "\n"
