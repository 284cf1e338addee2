# SPDX-License-Identifier: Apache-2.0
"""The plots of a benchmark's report, as SVG that takes its colours from the page around it.

Drawn by matplotlib, which requirements-report.txt pins. Each plot is as wide as a phone, so that its text can be read
there; a page places several next to each other where there is room. Series differ by colour (Okabe and Ito's, which
colour-blind people can tell apart), and by marker, hatch or dashes, for paper without colour.
"""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

#: Colours by the name of the page's variable. matplotlib gets a stand-in for each, which is replaced in its SVG.
_ROLES = ("ink", "muted", "grid", "paper", *(f"series-{number}" for number in range(1, 8)))
_COLOURS = {name: f"#0f0f{number + 16:02x}" for number, name in enumerate(_ROLES)}
INK, MUTED, GRID, PAPER = (_COLOURS[name] for name in _ROLES[:4])
SERIES = [_COLOURS[name] for name in _ROLES[4:]]
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))
#: Pixels at which text is as large as it says.
WIDTH = 360
#: More lines than this cannot be told apart in one plot; the tables have all.
MOST_LINES = 12


class NoPlots(Exception):
    """The library that draws is not installed."""


def _figure(height: int, panels: int = 1) -> tuple[Any, list[Any]]:
    """Return a figure of this height in pixels, and its axes, one above the other."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - a report without plots needs none
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise NoPlots(str(error)) from error
    mpl.rcParams.update(
        {"svg.fonttype": "none", "font.size": 12, "font.family": "sans-serif", "axes.edgecolor": MUTED}
        | {"text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "hatch.linewidth": 1.5}
        | {"axes.spines.top": False, "axes.spines.right": False, "grid.color": GRID, "hatch.color": PAPER}
    )
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(panels, 1, sharex=panels > 1, squeeze=False)[:, 0]
    for each in axes:
        each.patch.set_alpha(0)
        each.grid(True, linewidth=0.8)
        each.set_axisbelow(True)
    return figure, list(axes)


def _svg(figure: Any, name: str, title: str) -> str:
    """Return the figure as an SVG element with a title, whose IDs begin with `name`."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = name
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for role, stand_in in _COLOURS.items():
        text = text.replace(stand_in, f"var(--{role})")
    text = re.sub(r"font: ([0-9.]+px) [^;\"]+", r"font: \1 system-ui, sans-serif", text)
    view = re.search(r'viewBox="[^"]+"', text)
    head = f'<svg class="plot" role="img" aria-labelledby="{name}-title" {view[0] if view else ""}'
    head += ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    body = text[text.index(">") + 1 :]
    return f'{head}>\n<title id="{name}-title">{_escaped(title)}</title>{body}'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _legend(axes: Any, columns: int = 2) -> None:
    """Put the names of what is drawn below the plot, where they cover nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=11)


def speeds(name: str, title: str, kind: str, boards: Sequence[Mapping[str, Any]], card: float | None) -> str:
    """Return bars of a speed (tokens a second) for each board.

    Args:
        kind: `prompt` or `generation`.
        boards: each `name`, `settings` (as in a summary) and `roofline` (tokens a second or None).
        card: what the model card measured, None where it does not hold.
    """
    names = sorted({setting for board in boards for setting in board["settings"]})
    step = 0.8 / max(len(names), 1)
    figure, (axes,) = _figure(int(110 + len(boards) * (22 + 18 * len(names))))
    axes.grid(False, axis="y")
    words = {"card": "settings of the card", "own": "the board's settings"}
    middles = [place + step * (len(names) - 1) / 2 for place in range(len(boards))]
    for number, setting in enumerate(names):
        places: list[float] = []
        means: list[float] = []
        deviations: list[float] = []
        for place, board in enumerate(boards):
            if speed := board["settings"].get(setting, {}).get(kind):
                alone = len(board["settings"]) == 1
                places.append(middles[place] if alone else place + number * step)
                means.append(speed["mean"])
                deviations.append(speed["deviation"] or 0)
        axes.barh(
            *(places, means),
            **{"height": step * 0.9, "color": SERIES[number], "hatch": "//" if number else None, "edgecolor": PAPER},
            **{"xerr": deviations, "error_kw": {"ecolor": INK, "capsize": 3}, "label": words[setting]},
        )
        for at, mean, deviation in zip(places, means, deviations):
            axes.annotate(
                f"{mean:.3g}",
                (mean + deviation, at),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
            )
    roofs = [(place, board["roofline"]) for place, board in enumerate(boards) if board.get("roofline")]
    if kind == "generation" and roofs:
        axes.plot(
            *([roof for _place, roof in roofs], [middles[place] for place, _roof in roofs]),
            **{"linestyle": "", "marker": "|", "markersize": 22, "markeredgewidth": 3, "color": SERIES[2]},
            label="most that its memory allows",
        )
    if card:
        axes.axvline(card, color=INK, linestyle=DASHES[1], linewidth=1.5, label=f"model card ({card:g})")
    axes.set_yticks(middles, [board["name"] for board in boards])
    axes.invert_yaxis()
    axes.set_xlim(left=0, right=1.16 * max(axes.get_xlim()[1] / 1.05, card or 0))
    axes.set_xlabel("tokens a second")
    _legend(axes)
    return _svg(figure, name, title)


def _lines(count: int) -> list[dict[str, Any]]:
    """Return how to draw each of so many lines."""
    colours, marks = cycle(SERIES), cycle(MARKERS)
    return [
        {"color": next(colours), "marker": next(marks), "markersize": 4.5, "linewidth": 1.6}
        | {"linestyle": DASHES[number // len(SERIES) % len(DASHES)]}
        for number in range(count)
    ]


def context(name: str, title: str, boards: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return generation and prompt speed over the length of the context.

    Args:
        boards: each `name` and `context`, as in a summary.
        other: public measurements to compare with, each `label`, `context` and `generation` (lists of equal length).
    """
    figure, (above, below) = _figure(380, panels=2)
    for board, style in zip(boards, _lines(len(boards))):
        rows = board["context"]
        lengths = [row["context"] for row in rows]
        above.plot(lengths, [row["generation"] for row in rows], label=board["name"], **style)
        below.plot(lengths, [row["prompt"] for row in rows], **style)
    most = max((row["context"] for board in boards for row in board["context"]), default=0)
    for one in other:
        shown = [(at, speed) for at, speed in zip(one["context"], one["generation"]) if at <= 1.1 * most]
        above.plot(*zip(*shown), color=MUTED, linestyle=DASHES[2], linewidth=1.6, label=one["label"])
    above.set_ylabel("generation,\ntokens a second")
    below.set_ylabel("prompt,\ntokens a second")
    below.set_xlabel("tokens in the context before")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
    _legend(above)
    return _svg(figure, name, title)


def temperature(name: str, title: str, boards: Sequence[Mapping[str, Any]], hot: float) -> str:
    """Return temperature and clock over the time of the benchmark.

    Args:
        boards: each `name` and `samples`, as in a summary.
        hot: Celsius from which on a board slows down.
    """
    figure, (above, below) = _figure(380, panels=2)
    for board, style in zip(boards, _lines(len(boards))):
        for axes, what in ((above, "temperature_c"), (below, "clock_mhz")):
            points = [(one["t"] / 60, one[what]) for one in board["samples"] if what in one]
            if points:
                spaced = {**style, "markevery": max(1, len(points) // 8)}
                axes.plot(*zip(*points), label=board["name"], **spaced)
    above.axhline(hot, color=INK, linestyle=DASHES[1], linewidth=1.2, label=f"slows down from {hot:g} °C on")
    above.set_ylabel("temperature, °C")
    below.set_ylabel("clock, MHz")
    below.set_ylim(bottom=0)
    below.set_xlabel("minutes")
    _legend(above)
    return _svg(figure, name, title)


def history(name: str, title: str, boards: Sequence[Mapping[str, Any]], card: float | None) -> str:
    """Return the generation speed of each board over its runs.

    Args:
        boards: each `name` and `history`, a list of `started` (epoch), `generation` (mean) and `deviation`.
    """
    figure, (axes,) = _figure(260)
    for board, style in zip(boards, _lines(len(boards))):
        runs = board["history"]
        times = [datetime.datetime.fromtimestamp(run["started"], datetime.timezone.utc) for run in runs]
        axes.errorbar(
            *(times, [run["generation"] for run in runs]),
            **{"yerr": [run["deviation"] or 0 for run in runs], "capsize": 3, "label": board["name"], **style},
        )
    if card:
        axes.axhline(card, color=INK, linestyle=DASHES[1], linewidth=1.2, label=f"model card ({card:g})")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("generation,\ntokens a second")
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    locator = AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    _legend(axes)
    return _svg(figure, name, title)
