"""`make verify`: what holds on each board of an inventory. Nothing is changed on any of them.

ANSIBLE_INVENTORY names the inventory (inventory/mine), LIMIT some of its hosts, in Ansible's way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from boards import PROJECT, Fleet, SSHException

INVENTORY = os.environ.get("ANSIBLE_INVENTORY") or str(PROJECT / "inventory/mine")
LIMIT = os.environ.get("LIMIT", "")
FLEET = Fleet(INVENTORY, LIMIT)
WORDS = {"passed": "holds", "failed": "FAILS", "skipped": "cannot be known"}
SAID: list[str] = []


@pytest.fixture(scope="session", params=FLEET.names())
def name(request: pytest.FixtureRequest) -> str:
    """One board after the other."""
    return str(request.param)


@pytest.fixture(scope="session")
def board(name: str) -> Any:
    """The board, reached as Ansible reaches it."""
    host = FLEET.host(name)
    try:
        became = host.run("id -u")
    except (OSError, EOFError, SSHException) as error:
        pytest.fail(f"{name} cannot be reached: {str(error) or type(error).__name__}", pytrace=False)
    if became.rc or became.stdout.strip() != "0":
        pytest.fail(f"{name}: root is needed to look, without a password: {became.stderr.strip()}", pytrace=False)
    return host


@pytest.fixture(scope="session")
def variable(name: str) -> Any:
    """A variable of this board by its name."""
    return lambda variable: FLEET.variable(name, variable)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--per-board", action="store_true", help="print a line for each board and assertion")


def pytest_configure() -> None:
    if not FLEET.names():
        among = f" among {LIMIT}" if LIMIT else ""
        raise pytest.UsageError(f"the inventory {INVENTORY} has no host in the group 'pis'{among}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Function, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Print the assertion, which is the first line of the test's docstring, and whether it holds."""
    outcome: Any = yield
    report = outcome.get_result()
    if not item.config.getoption("--per-board") or (report.when != "call" and report.outcome == "passed"):
        return
    board = item.callspec.params["name"]
    why = ""
    if report.failed and call.excinfo:
        why = str(call.excinfo.value).partition("\n")[0]
    elif report.skipped and isinstance(report.longrepr, tuple):
        why = report.longrepr[2].removeprefix("Skipped: ")
    sentence = (item.function.__doc__ or item.name).splitlines()[0].rstrip(".")
    line = f"{board:<12} {WORDS[report.outcome]:<16} {sentence}" + (f": {why}" if why else "")
    if report.when == "setup" and report.failed:
        # Nothing is known of it: said once.
        line = f"{board:<12} {WORDS['failed']:<16} {why}"
        if line in SAID:
            return
        SAID.append(line)
    item.config.pluginmanager.getplugin("terminalreporter").write_line(line)


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> Any:
    """The lines above stand for pytest's dots."""
    if config.getoption("--per-board") and (report.when == "call" or not report.passed):
        return report.outcome, "", ""
    return None
