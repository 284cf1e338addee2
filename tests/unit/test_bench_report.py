"""The report of a benchmark: complete, without a network, for every reader, and honest about what is missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.action.bench_report import TEMPLATE, write
from ansible_collections.ik_llama.pi.plugins.plugin_utils import bench_plots, bench_report
from bench_fixture import BOARD, START, fixture_result

RUNS = ("20260101T000000Z", "20260108T000000Z")


def place(folder: Path, result: dict[str, Any]) -> Path:
    path = folder / "results" / result["about"]["host"] / f"{result['run']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for week, run in enumerate(RUNS):
        for host, options in (("pi-01", {}), ("pi-02", {"own": 1.1, "power": False, "throttled_from": 90})):
            place(tmp_path, fixture_result(host, run, started=START + week * 604_800, **options))
    return tmp_path


def make(folder: Path, run: str = RUNS[-1], **failures: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): text for name, text in failures.items()}
    return bench_report.make_report(folder, run, ["pi-01", "pi-02", *named], named, 2.0)


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_boards_that_are_missing_are_named_with_the_reason(folder: Path) -> None:
    report = make(folder, pi_03="pi-03: lost contact.", pi_04="")
    assert [board["name"] for board in report["boards"]] == ["pi-01", "pi-02"]
    missing = {one["name"]: one["reason"] for one in report["missing"]}
    assert missing.keys() == {"pi-03", "pi-04"}
    assert missing["pi-03"] == "lost contact."
    assert len(bench_report.sentences(report)) == 2 + 2 + 1  # two boards, two missing, one that was throttled


def test_a_result_of_an_earlier_run_is_not_of_this_one(folder: Path) -> None:
    report = make(folder, "20260301T000000Z")
    assert [one["name"] for one in report["missing"]] == ["pi-01", "pi-02"]


def test_a_result_that_another_run_began_and_this_one_waited_for(folder: Path) -> None:
    place(folder, fixture_result("pi-01", "20260201T000000Z", started=bench_report.epoch("20260201T000000Z")))
    report = make(folder, "20260201T000200Z")
    assert [board["summary"]["run"] for board in report["boards"]] == ["20260201T000000Z"]


def test_a_result_that_is_cut_off_is_left_out_and_said(folder: Path) -> None:
    path = folder / "results/pi-02" / f"{RUNS[-1]}.json"
    path.write_text(path.read_text()[:1000])
    report = make(folder)
    assert [one["name"] for one in report["missing"]] == ["pi-02"]
    assert str(path) in report["damaged"][0]
    assert report["damaged"][0] in bench_report.as_html(report, TEMPLATE)


def test_a_board_that_measured_a_part_is_in_the_report(folder: Path) -> None:
    result = fixture_result("pi-01", RUNS[-1], started=START + 604_800)
    result["steps"] = result["steps"][:1]
    place(folder, {**result, "state": "running"})
    report = make(folder)
    assert [one["name"] for one in report["incomplete"]] == ["pi-01"]
    assert report["boards"][0]["verdict"]["speed"] is None
    Page(bench_report.as_html(report, TEMPLATE))


def test_it_is_compared_with_the_run_before(folder: Path) -> None:
    rows = make(folder)["differences"]
    assert {(row["host"], row["settings"], row["kind"]) for row in rows} == {
        (host, settings, kind)
        for host, settings in (("pi-01", "card"), ("pi-02", "card"), ("pi-02", "own"))
        for kind in ("prompt", "generation")
    }
    assert {row["verdict"] for row in rows} == {"same"}
    assert make(folder, RUNS[0])["differences"] == []


def test_the_page_needs_no_network_and_has_no_script(folder: Path) -> None:
    page = Page(bench_report.as_html(make(folder), TEMPLATE))
    tags = {name for name, _attributes in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "img", "image"}
    for name, attributes in page.tags:
        for key in ("src", "xlink:href", "style"):
            assert not re.search(r"https?:|url\((?!#)|@import", attributes.get(key, "")), (name, attributes)


def test_the_page_can_be_heard(folder: Path) -> None:
    text = bench_report.as_html(make(folder, pi_03="lost"), TEMPLATE)
    page = Page(text)
    assert page.all("html")[0]["lang"] == "en"
    ids = [attributes["id"] for _name, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _name, attributes in page.tags:
        for key in ("aria-labelledby", "href", "xlink:href"):
            target = attributes.get(key, "")
            if target and not target.startswith("http"):
                assert target.removeprefix("#") in ids, target
    plots = [one for one in page.all("svg") if one.get("class") == "plot"]
    assert len(plots) == 5
    assert all(one["role"] == "img" and one["aria-labelledby"] for one in plots)
    # Behind each plot is a table with heads of columns and rows.
    assert text.count("<caption>") == len(page.all("table")) == 6
    assert {one["scope"] for one in page.all("th")} == {"col", "row"}
    heads = [int(name[1]) for name, _attributes in page.tags if re.fullmatch(r"h\d", name)]
    assert heads[0] == 1
    assert all(after - before <= 1 for before, after in zip(heads, heads[1:]))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_read(scheme: int) -> None:
    """Text needs a contrast of 4.5, lines and bars of 3 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    block = TEMPLATE.read_text().split(":root {")[scheme + 1]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block.partition("} }" if scheme else "}\n")[0]))
    assert {"paper", "ink", "series-7"} <= colours.keys()
    for ground in ("paper", "card"):
        for name in ("ink", "muted", "good", "bad", "series-1"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for number in range(1, 8):
        assert contrast(colours[f"series-{number}"], colours["paper"]) >= 3, number


def test_names_are_text_and_no_markup(folder: Path) -> None:
    place(folder, fixture_result("<b>&pi", RUNS[-1], started=START + 604_800))
    report = bench_report.make_report(folder, RUNS[-1], ["<b>&pi", "pi-01"], {}, 2.0)
    text = bench_report.as_html(report, TEMPLATE)
    assert "<b>" not in text
    assert Page(text).all("b") == []


def test_without_the_library_that_draws_there_are_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_arguments: Any) -> str:
        raise bench_plots.NoPlots

    monkeypatch.setattr(bench_plots, "speeds", missing)
    page = Page(bench_report.as_html(make(folder), TEMPLATE))
    assert page.all("svg") == []
    assert len(page.all("table")) == 6


def test_a_model_that_the_card_did_not_measure_is_drawn_without_the_card(folder: Path) -> None:
    board = {**BOARD, "virtualization": "container", "model": ""}
    place(folder, fixture_result("pi-09", RUNS[-1], board=board, started=START + 604_800))
    report = bench_report.make_report(folder, RUNS[-1], ["pi-09"], {}, 2.0)
    assert "model card (" not in bench_report.as_html(report, TEMPLATE)
    assert "model card (" in bench_report.as_html(make(folder), TEMPLATE)


def test_many_boards_are_drawn_in_groups(tmp_path: Path) -> None:
    names = [f"pi-{number:02}" for number in range(30)]
    for name in names:
        place(tmp_path, fixture_result(name, RUNS[0], context=1024))
    report = bench_report.make_report(tmp_path, RUNS[0], names, {}, 2.0)
    plots = bench_report.plots(report)
    assert [plot["title"] for plot in plots].count("Generation speed") == 3
    assert all(any(f">{name}<" in plot["svg"] for plot in plots) for name in names)


def test_markdown_tables_are_whole(folder: Path) -> None:
    report = make(folder, pi_03="lost")
    for text in (bench_report.as_markdown(report), bench_report.as_export(report)):
        tables = [list(rows) for is_row, rows in groupby(text.splitlines(), lambda line: line[:1] == "|") if is_row]
        assert len(tables) > 1
        for rows in tables:
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_export_has_the_columns_of_others(folder: Path) -> None:
    lines = bench_report.as_export(make(folder)).splitlines()
    assert lines[0] == "| System | CPU/GPU | Eval Rate | Power (Peak) |"
    assert lines[2].startswith("| Raspberry Pi 5 Model B Rev 1.1 - 16GB | CPU | 4.5")
    assert "N/A" in lines[3]
    assert "| model | size | backend | threads | test | t/s |" in lines


def test_two_reports(folder: Path) -> None:
    for run in RUNS:
        write(folder / "reports" / run, make(folder, run))
    place(
        folder, fixture_result("pi-01", "20260301T000000Z", speed=0.7, started=bench_report.epoch("20260301T000000Z"))
    )
    write(folder / "reports/20260301T000000Z", make(folder, "20260301T000000Z"))
    before, after = bench_report.two_reports(folder, "", "")
    assert (before["run"], after["run"]) == (RUNS[1], "20260301T000000Z")
    rows = bench_report.between(before, after, 2.0)
    assert {row["verdict"] for row in rows} == {"slower"}
    assert bench_report.only_in_one(before, after) == {"pi-02": RUNS[1]}
    path = folder / "reports" / RUNS[0] / "report.json"
    assert bench_report.two_reports(folder, str(path), RUNS[1])[0]["run"] == RUNS[0]


def test_reports_that_are_missing_or_damaged(folder: Path) -> None:
    with pytest.raises(ValueError, match="reports"):
        bench_report.two_reports(folder, "", "")
    write(folder / "reports" / RUNS[0], make(folder, RUNS[0]))
    with pytest.raises(ValueError, match="reports"):
        bench_report.two_reports(folder, "", "")
    path = folder / "reports" / RUNS[0] / "report.json"
    path.write_text(path.read_text()[:500])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        bench_report.two_reports(folder, str(path), RUNS[0])
