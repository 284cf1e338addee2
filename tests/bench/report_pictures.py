#!/usr/bin/env python3
"""Write a report of invented boards, and take pictures of it with a headless Chromium.

    tests/bench/report_pictures.py FOLDER      report.html, and PNGs: desktop and phone, light and dark, and a PDF

Needs Debian's package chromium. The results are those of tests/unit/bench_fixture.py: no board was measured for them.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "tests/verify"), str(PROJECT / "tests/unit")]

import project_collection  # noqa: E402, F401
from ansible_collections.ik_llama.pi.plugins.action.bench_report import write  # noqa: E402
from ansible_collections.ik_llama.pi.plugins.plugin_utils.bench_report import make_report  # noqa: E402
from bench_fixture import START, fixture_result  # noqa: E402

#: Width in pixels, and how high the page is there, by name.
WINDOWS = {"desktop": (1280, 2600), "phone": (390, 5200)}
#: Blink's PreferredColorScheme.
SCHEMES = {"light": 1, "dark": 0}
#: Boards that differ: as the card has it, throttled, with its own settings, without the firmware's tool.
BOARDS: dict[str, dict[str, Any]] = {
    "pi-01": {},
    "pi-02": {"speed": 0.78, "throttled_from": 180, "board": {"cooling": {"fan": False, "rpm": None, "state": None}}},
    "pi-03": {"speed": 0.95, "own": 1.07, "board": {"governor": "ondemand", "page_size": 4096}},
    "pi-04": {"speed": 1.02, "power": False},
}


def results(folder: Path) -> str:
    """Write results of three runs a week apart; return the name of the last run."""
    name = ""
    for week in range(3):
        started = START + week * 7 * 86400
        name = datetime.datetime.fromtimestamp(started, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        for host, options in BOARDS.items():
            path = folder / "results" / host / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            changed = {"speed": 1.0, "throttled_from": 1e9} if host == "pi-02" and week < 2 else {}
            path.write_text(json.dumps(fixture_result(host, name, started=started, **{**options, **changed})))
    return name


def chromium(*words: str) -> None:
    with tempfile.TemporaryDirectory() as profile:
        base = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}"]
        subprocess.run([*base, *words], check=True, capture_output=True, timeout=120)


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    run = results(folder)
    report = make_report(folder, run, [*BOARDS, "pi-05"], {"pi-05": "pi-05: lost contact while it was measured."}, 2.0)
    write(folder, report)
    page = (folder / "report.html").as_uri()
    for window, (width, height) in WINDOWS.items():
        for scheme, number in SCHEMES.items():
            picture = folder / f"{window}-{scheme}.png"
            look = [f"--window-size={width},{height}", f"--blink-settings=preferredColorScheme={number}"]
            chromium(*look, f"--screenshot={picture}", page)
            print(picture)
    chromium("--no-pdf-header-footer", f"--print-to-pdf={folder}/report.pdf", page)
    print(folder / "report.pdf")


if __name__ == "__main__":
    main()
