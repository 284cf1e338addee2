# SPDX-License-Identifier: Apache-2.0
"""The report of a benchmark: how fast each board is, what is missing, and how it was before."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import HOT
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json
from ansible_collections.ik_llama.pi.plugins.plugin_utils import bench_plots
from ansible_collections.ik_llama.pi.plugins.plugin_utils.bench_judge import CARD, GIB, compare, judge
from ansible_collections.ik_llama.pi.plugins.plugin_utils.bench_results import read_result
from jinja2 import Environment, FileSystemLoader, StrictUndefined

FORMAT = 1
REPORT = "report.json"
#: Runs of a board that a report looks back at.
HISTORY = 50
#: What others measured on a Raspberry Pi 5 16 GB. Models and programs differ: they are no standard for a board.
PUBLIC: list[dict[str, Any]] = [
    {
        "label": "potato-os/core, Qwen3-30B-A3B",
        "what": "Qwen3-30B-A3B Q3_K_S 2.66 bpw, ik_llama.cpp, 4 threads, KV cache q8_0, in a conversation",
        "source": "https://github.com/potato-os/core/blob/main/benchmarks/context_window_48k_results.md",
        "context": [728, 6379, 12729, 18913, 25197, 30645, 36877, 43259, 48846],
        "generation": [8.8, 5.6, 4.0, 3.1, 2.6, 2.2, 1.9, 1.7, 1.5],
    },
    {
        "label": "ai-benchmarks #47, Qwen3-30B-A3B",
        "what": "Qwen3-30B-A3B Q3_K_S 2.70 bpw, llama.cpp, 4 threads: pp512 10.91, tg128 7.99",
        "source": "https://github.com/geerlingguy/ai-benchmarks/issues/47",
        "context": [],
        "generation": [],
    },
]
#: A table: caption, heads, rows of text. The first column names the row.
Table = tuple[str, list[str], list[list[str]]]


def read_board(folder: Path, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the summaries of a board's results, the oldest first, and a sentence for each that cannot be read."""
    found, damaged = [], []
    for path in sorted((folder / "results" / name).glob("*.json"))[-HISTORY:]:
        try:
            found.append(read_result(path))
        except ValueError as error:
            damaged.append(str(error))
    return found, damaged


def epoch(run: str) -> float:
    """Return the time of a run by its name, 0 if that is none."""
    try:
        when = datetime.datetime.strptime(run, "%Y%m%dT%H%M%SZ")
    except ValueError:
        return 0.0
    return when.replace(tzinfo=datetime.timezone.utc).timestamp()


def of_run(results: Sequence[Mapping[str, Any]], run: str) -> int | None:
    """Return the place of a run's result, or of one that another run began and this one waited for; None if none is."""
    places = [place for place, one in enumerate(results) if one["run"] == run]
    places = places or [place for place, one in enumerate(results) if one["started"] < epoch(run) < (one["ended"] or 0)]
    return places[-1] if places else None


def make_report(
    folder: Path, run: str, names: Sequence[str], failures: Mapping[str, str], noise_percent: float
) -> dict[str, Any]:
    """Return all that a report says.

    Args:
        folder: on the controller, with `results/BOARD/RUN.json`.
        names: of all boards that were to be measured.
        failures: why boards were not measured, by name; others that have no result were lost.

    Returns:
        `format`, `run`, `boards` (each `name`, `summary`, `verdict`, `history`), `missing` (`name` and `reason`),
        `incomplete` (the same, of boards in `boards`), `differences` (against each board's run before), `damaged`
        (sentences about results that cannot be read), `noise_percent`.
    """
    boards, missing, incomplete, differences, damaged = [], [], [], [], []
    for name in names:
        results, unreadable = read_board(folder, name)
        damaged += unreadable
        place = of_run(results, run)
        reason = failures.get(name, "").removeprefix(f"{name}: ").strip()
        if place is None:
            missing.append({"name": name, "reason": reason or "its result did not arrive"})
            continue
        one = results[place]
        boards.append(
            {"name": name, "summary": one, "verdict": judge(one), "history": history_of(results[: place + 1])}
        )
        incomplete += [{"name": name, "reason": text} for text in [*one["failures"], *([reason] if reason else [])]]
        before = next((other for other in reversed(results[:place]) if other["settings"]), None)
        differences += compare([before], [one], noise_percent) if before else []
    return {
        "format": FORMAT,
        "run": run,
        "boards": boards,
        "missing": missing,
        "incomplete": incomplete,
        "differences": differences,
        "damaged": damaged,
        "noise_percent": noise_percent,
    }


def read_report(folder: Path, name: str) -> dict[str, Any]:
    """Return a report by the name of its run, or the path of its `report.json`. ValueError if it is none."""
    path = Path(name).expanduser() if "/" in name or name.endswith(".json") else folder / "reports" / name / REPORT
    report: dict[str, Any] = read_json(path, {})
    if report.get("format") != FORMAT or not isinstance(report.get("boards"), list):
        raise ValueError(
            f"{path} is no report of a benchmark, or is cut off. Name a run of {folder}/reports, or a path"
        )
    return report


def two_reports(folder: Path, before: str, after: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two reports, by default the last two. ValueError if one of them is missing or damaged."""
    runs = sorted(path.parent.name for path in (folder / "reports").glob(f"*/{REPORT}"))
    if not after and runs:
        after = runs[-1]
    earlier = [run for run in runs if run < after] if after in runs else runs
    if not before and earlier:
        before = earlier[-1]
    if not before or not after:
        raise ValueError(f"two reports are needed, and {folder}/reports has {len(runs)}. Run playbooks/bench.yml first")
    return read_report(folder, before), read_report(folder, after)


def between(before: Mapping[str, Any], after: Mapping[str, Any], noise_percent: float) -> list[dict[str, Any]]:
    """Return the differences between two reports, as `bench_judge.compare` does."""
    return compare(
        [board["summary"] for board in before["boards"]], [board["summary"] for board in after["boards"]], noise_percent
    )


def only_in_one(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Return the boards that one of two reports does not have, with the name of the other's run."""
    one, other = ({board["name"]: report["run"] for board in report["boards"]} for report in (before, after))
    return {name: run for name, run in {**one, **other}.items() if not (name in one and name in other)}


def main_settings(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the speeds of a board as it serves: with its own settings, which may be the card's."""
    found: dict[str, Any] = one["settings"].get("own") or one["settings"].get("card") or {}
    return found


def history_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `run`, `started`, `generation`, `deviation`, `prompt` and `commit` of each run that has them."""
    runs = []
    for one in results:
        speeds = main_settings(one)
        if "generation" in speeds:
            runs.append(
                {
                    "run": one["run"],
                    "started": one["started"],
                    "generation": speeds["generation"]["mean"],
                    "deviation": speeds["generation"]["deviation"],
                    "prompt": speeds.get("prompt", {}).get("mean"),
                    "commit": one["about"]["release"]["commit"][:9],
                }
            )
    return runs


def when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def speed(value: Mapping[str, Any] | None) -> str:
    """Return a speed with its noise, like `4.53 ± 0.02`, or a dash."""
    if not value:
        return "-"
    return f"{value['mean']:.2f}" + (f" ± {value['deviation']:.2f}" if value["deviation"] is not None else "")


def number(value: float | None, form: str = ".0f", unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def words(settings: Mapping[str, Any]) -> str:
    """Return settings as a table has them: what differs from the rest is what matters."""
    text = f"{settings['threads']}+{settings['threads_batch']} threads, ubatch {settings['ubatch']}"
    text += "".join(
        f", {name} {settings[key]}"
        for name, key in (("K", "cache_type_k"), ("V", "cache_type_v"))
        if settings.get(key, "f16") != "f16"
    )
    return text + (", repacked" if settings.get("repack") else "")


def boards_table(report: Mapping[str, Any]) -> Table:
    head = ["Board", "Settings", "Generation", "Prompt", "Of the card", "Of its memory", "Model", "RAM", "J per token"]
    rows = []
    for board in report["boards"]:
        one, verdict = board["summary"], board["verdict"]
        for number_of, (name, speeds) in enumerate(one["settings"].items()):
            served = name == list(one["settings"])[-1]
            roof = verdict["roofline"]
            generated = speeds.get("generation")
            rows.append(
                [
                    board["name"] if not number_of else "",
                    f"{name}: {words(one['about']['settings'][name])}",
                    speed(generated),
                    speed(speeds.get("prompt")),
                    percent(verdict["of_card"].get("generation")) if name == "card" else "-",
                    percent(generated["mean"] / roof if generated and roof else None),
                    f"{one['about']['model']['tensor_bytes'] / GIB:.2f} GiB",
                    number(one["peak_mib"] / 1024 if one["peak_mib"] else None, ".1f", " GiB"),
                    number(one["joules_per_token"] if served else None, ".2f"),
                ]
            )
    if any(not board["verdict"]["incomparable"] for board in report["boards"]):
        size, prompt, generated = f"{CARD['gib']} GiB", f"{CARD['prompt']}", f"{CARD['generation']}"
        rows.append(["model card", "3+4 threads, Pi 5 16 GB", generated, prompt, "100%", "-", size, "-", "-"])
    return "Speeds in tokens a second, ± the deviation of one repetition", head, rows


def hardware_table(report: Mapping[str, Any]) -> Table:
    head = ["Board", "Hardware", "Kernel", "Pages", "Governor", "Memory bandwidth", "Engine", "Model", "Deployment"]
    rows = []
    for board in report["boards"]:
        one = board["summary"]
        about, its = one["about"], one["about"]["board"]
        rows.append(
            [
                board["name"],
                its["model"] or f"{its['architecture']} {its['virtualization']}".strip(),
                its["kernel"],
                f"{its['page_size'] // 1024} KiB",
                its["governor"] or "-",
                number(one["bandwidth"] / 1e9 if one["bandwidth"] else None, ".1f", " GB/s"),
                about["release"]["commit"][:9],
                " ".join(part for part in (about["model"]["name"], about["model"]["recipe"]) if part),
                about["deployment"],
            ]
        )
    return "What was measured", head, rows


def phases_table(report: Mapping[str, Any]) -> Table:
    head = ["Board", "When", "Hottest", "Mean clock", "Lowest clock", "Throttled", "Power", "Swap", "Others' work"]
    rows = []
    for board in report["boards"]:
        for place, (name, its) in enumerate(board["summary"]["phases"].items()):
            rows.append(
                [
                    "" if place else board["name"],
                    name,
                    number(its.get("temperature_c"), ".1f", " °C"),
                    number(its.get("clock_mhz"), ".0f", " MHz"),
                    number(its.get("clock_least_mhz"), ".0f", " MHz"),
                    ", ".join(its["throttled"]) or "no",
                    number(its.get("watts"), ".1f", " W"),
                    number(its.get("swap_mib"), ".0f", " MiB"),
                    number(its.get("others"), ".2f", " processors"),
                ]
            )
    return "Temperature, clock and power before, during and after", head, rows


def context_table(report: Mapping[str, Any]) -> Table:
    boards = [board for board in report["boards"] if board["summary"]["context"]]
    head = ["Context"] + [f"{board['name']}, {kind}" for board in boards for kind in ("generation", "prompt")]
    lengths = sorted({row["context"] for board in boards for row in board["summary"]["context"]})
    rows = []
    for length in lengths:
        cells = [f"{length:,}"]
        for board in boards:
            row = next((row for row in board["summary"]["context"] if row["context"] == length), None)
            cells += [number(row[kind] if row else None, ".2f") for kind in ("generation", "prompt")]
        rows.append(cells)
    return "Tokens a second over the length of the context", head, rows if boards else []


def history_table(report: Mapping[str, Any]) -> Table:
    rows = [
        [board["name"], when(run["started"]), f"{run['generation']:.2f}", number(run["prompt"], ".2f"), run["commit"]]
        for board in report["boards"]
        for run in board["history"]
    ]
    caption = "Earlier runs, tokens a second with the board's settings"
    return caption, ["Board", "Run", "Generation", "Prompt", "Engine"], rows


def differences_table(rows: Sequence[Mapping[str, Any]], caption: str) -> Table:
    head = ["Board", "Settings", "Speed", "Before", "After", "Change", "Noise", "Verdict", "Also changed"]
    cells = [
        [
            row["host"],
            row["settings"],
            row["kind"],
            f"{row['before']:.2f}",
            f"{row['after']:.2f}",
            f"{row['percent']:+.1f} %",
            number(row["noise_percent"], ".1f", " %"),
            row["verdict"],
            "; ".join(row["changed"]) or "-",
        ]
        for row in rows
    ]
    return caption, head, cells


def tables(report: Mapping[str, Any]) -> dict[str, Table]:
    """Return all tables of a report by name; one without rows has nothing to say."""
    return {
        "boards": boards_table(report),
        "differences": differences_table(report["differences"], "Against the run before"),
        "context": context_table(report),
        "phases": phases_table(report),
        "history": history_table(report),
        "hardware": hardware_table(report),
    }


def markdown_table(table: Table) -> list[str]:
    _caption, head, rows = table
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each board: how fast it is, and what can be seen that makes it slow."""
    lines = []
    for board in report["boards"]:
        lines.append(f"{board['name']}: {board['verdict']['text']}.")
        lines += [f"  {reason['text']}." for reason in board["verdict"]["reasons"]]
    lines += [f"{one['name']}: incomplete: {one['reason']}." for one in report["incomplete"]]
    return lines + [f"{one['name']}: missing: {one['reason']}" for one in report["missing"]]


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown, without plots."""
    lines = [f"# Benchmark {report['run']}", "", *(f"- {line.strip()}" for line in sentences(report))]
    for table in tables(report).values():
        if table[2]:
            lines += ["", f"## {table[0]}", *markdown_table(table)]
    lines += ["", "## For comparison", *(f"- {one['what']} ({one['source']})" for one in PUBLIC)]
    return "\n".join(lines) + "\n"


def as_export(report: Mapping[str, Any]) -> str:
    """Return the boards in the forms of geerlingguy/ai-benchmarks: the table of its README, and that of its issues.

    Power is that of a Pi 5's regulators, and not measured at the plug as there.
    """
    rows, tests = [], []
    for board in report["boards"]:
        one = board["summary"]
        about = one["about"]
        memory = f"{round(about['board']['memory_mib'] / 1024)}GB"
        system = f"{about['board']['model'] or about['board']['architecture']} - {memory}"
        peak = max((sample["watts"] for sample in one["samples"] if "watts" in sample), default=None)
        size = f"{about['model']['tensor_bytes'] / GIB:.2f} GiB"
        label = f"{about['model']['name']} {about['model']['recipe']}".strip()
        generated = main_settings(one).get("generation")
        if generated:
            rows.append([system, "CPU", f"{generated['mean']:.2f} Tokens/s", f"{peak:.1f}W" if peak else "N/A"])
        for name, speeds in one["settings"].items():
            threads = about["settings"][name]
            for kind, word in (("prompt", "pp"), ("generation", "tg")):
                if its := speeds.get(kind):
                    used = threads["threads_batch" if kind == "prompt" else "threads"]
                    tests.append([label, size, "CPU", str(used), f"{word}{its['tokens']}", speed(its)])
    findings = ("", ["System", "CPU/GPU", "Eval Rate", "Power (Peak)"], sorted(rows, key=lambda row: row[2]))
    bench = ("", ["model", "size", "backend", "threads", "test", "t/s"], tests)
    return "\n".join([*markdown_table(findings), "", *markdown_table(bench)]) + "\n"


def plots(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the plots, each `title`, `svg` and the name of the `table` behind it. NoPlots if nothing can draw."""
    comparable = any(not board["verdict"]["incomparable"] for board in report["boards"])
    boards = [
        {"name": board["name"], "roofline": board["verdict"]["roofline"], "history": board["history"]}
        | {key: board["summary"][key] for key in ("settings", "context", "samples")}
        for board in report["boards"]
    ]
    found: list[dict[str, Any]] = []

    def add(table: str, title: str, chosen: list[dict[str, Any]], draw: Callable[..., str], *rest: Any) -> None:
        for start in range(0, len(chosen), bench_plots.MOST_LINES):
            group = chosen[start : start + bench_plots.MOST_LINES]
            svg = draw(f"plot{len(found) + 1}", title, *rest[:1], group, *rest[1:])
            found.append({"title": title, "svg": svg, "table": table})

    for kind, title in (("generation", "Generation speed"), ("prompt", "Prompt speed")):
        chosen = [board for board in boards if any(kind in speeds for speeds in board["settings"].values())]
        add("boards", title, chosen, bench_plots.speeds, kind, CARD[kind] if comparable else None)
    swept = [board for board in boards if board["context"]]
    other = [one for one in PUBLIC if one["context"]] if comparable else []
    add("context", "Speed over the length of the context", swept, _without_kind(bench_plots.context), None, other)
    seen = [board for board in boards if any("temperature_c" in one or "clock_mhz" in one for one in board["samples"])]
    add("phases", "Temperature and clock", seen, _without_kind(bench_plots.temperature), None, float(HOT))
    past = [board for board in boards if len(board["history"]) > 1]
    card = CARD["generation"] if comparable else None
    add("history", "Generation speed over the runs", past, _without_kind(bench_plots.history), None, card)
    return found


def _without_kind(draw: Callable[..., str]) -> Callable[..., str]:
    """Return a function with the arguments of `bench_plots.speeds` for a plot that knows no kind of speed."""
    return lambda name, title, _kind, group, rest: draw(name, title, group, rest)


def as_html(report: Mapping[str, Any], template: Path) -> str:
    """Return the report as one page that needs nothing else. Without the library that draws it has tables alone."""
    try:
        drawn, hint = plots(report), ""
    except bench_plots.NoPlots:
        drawn, hint = [], "No plots, because matplotlib is not installed where Ansible runs."
    environment = Environment(
        loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template.name).render(
        report=report, tables=tables(report), plots=drawn, hint=hint, public=PUBLIC, when=when, epoch=epoch
    )
