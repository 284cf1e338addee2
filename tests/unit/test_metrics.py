"""Who may fetch a board's metrics, and what the program says that looks at it."""

from __future__ import annotations

import json
import re
import runpy
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import throttled
from ansible_collections.ik_llama.pi.plugins.plugin_utils.metrics import (
    allowed_addresses,
    metrics_problems,
    web_configuration,
)
from naming import named, unnamed

ROLE = Path(__file__).resolve().parents[2] / "roles/pi_metrics"
HASHED = "$2b$10$" + "a" * 53
SETTINGS: dict[str, Any] = {
    "host": "0.0.0.0",
    "port": 9100,
    "users": {"prometheus": HASHED},
    "tls_certificate": "-----BEGIN CERTIFICATE-----",
    "tls_key": "-----BEGIN PRIVATE KEY-----",
    "allow_plain_http": False,
    "interval": 30,
}


def test_web_configuration() -> None:
    assert json.loads(web_configuration(SETTINGS, "/etc/x")) == {
        "tls_server_config": {"cert_file": "/etc/x/tls.crt", "key_file": "/etc/x/tls.key", "min_version": "TLS12"},
        "basic_auth_users": {"prometheus": HASHED},
    }
    assert json.loads(web_configuration({**SETTINGS, "users": {}, "tls_certificate": ""}, "/etc/x")) == {}


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", "localhost"),
        ("::1", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::", "localhost"),
        ("192.168.1.21", "localhost 192.168.1.21"),
        ("fe80::1%eth0", "localhost fe80::1"),
        ("pi-01.local", "any"),
    ],
)
def test_the_look_may_ask_the_server_where_it_listens(host: str, allowed: str) -> None:
    assert allowed_addresses(host) == allowed


def test_nothing_speaks_against_safe_metrics() -> None:
    assert metrics_problems(SETTINGS) == []
    assert metrics_problems({**SETTINGS, "tls_certificate": "", "tls_key": "", "allow_plain_http": True}) == []
    loopback = {**SETTINGS, "host": "127.0.0.1", "users": {}, "tls_certificate": "", "tls_key": ""}
    assert metrics_problems(loopback) == []


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"users": {}}, ["pi_metrics_host", "0.0.0.0", "pi_metrics_users"]),
        (
            {"tls_certificate": "", "tls_key": ""},
            ["pi_metrics_host", "0.0.0.0", "pi_metrics_tls_certificate", "pi_metrics_tls_key"],
        ),
        ({"users": {"prometheus": "in clear"}}, ["pi_metrics_users", "prometheus"]),
        ({"tls_key": ""}, ["pi_metrics_tls_certificate", "pi_metrics_tls_key"]),
        ({"port": 99999}, ["pi_metrics_port", 99999]),
        ({"interval": 1}, ["pi_metrics_interval", 1]),
    ],
)
def test_what_is_refused(settings: dict[str, Any], names: list[Any]) -> None:
    problems = metrics_problems({**SETTINGS, **settings})
    assert len(problems) == 1
    assert unnamed(problems[0], *names) == []
    # It names no variable that another fault of this list is about.
    said = {f"pi_metrics_{name}" for name in SETTINGS if named(problems[0], f"pi_metrics_{name}")}
    assert said - {"pi_metrics_allow_plain_http"} == {name for name in names if str(name).startswith("pi_metrics_")}
    assert "in clear" not in problems[0]


def look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, state: str = "not-found"
) -> dict[str, float]:
    """The metrics that the program writes where `vcgencmd` says this, and systemd that of the server."""
    programs = tmp_path / "bin"
    programs.mkdir()
    answers = {"systemctl": f"LoadState={state}\nActiveState=active\nNRestarts=3"}
    if said is not None:
        answers["vcgencmd"] = said
    for name, text in answers.items():
        (programs / name).write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}'\n")
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    monkeypatch.setattr("sys.argv", ["board-metrics", str(tmp_path / "pi.prom")])
    runpy.run_path(str(ROLE / "files/board-metrics"), run_name="__main__")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "pi.prom"]
    lines = (tmp_path / "pi.prom").read_text().splitlines()
    for line in lines:
        assert re.fullmatch(r'(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? [-\d.]+)', line), line
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line[0] != "#"}


@pytest.mark.parametrize("raw", [0x0, 0x50005, 0x80008, 0xF0000, 0x2])
def test_the_bits_are_decoded_as_everywhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: int) -> None:
    found = look(tmp_path, monkeypatch, f"throttled={raw:#x}")
    shown = throttled(f"throttled={raw:#x}")
    for metric, words in (("pi_throttled", shown["now"]), ("pi_throttled_since_boot", shown["since_boot"])):
        plain = {word.replace("-", "_").replace(" ", "_") for word in words}
        assert {name for name, value in found.items() if name.startswith(f"{metric}{{") and value} == {
            f'{metric}{{condition="{word}"}}' for word in plain
        }


@pytest.mark.parametrize("said", [None, "VCHI initialization failed"])
def test_what_cannot_be_read_gives_no_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None) -> None:
    found = look(tmp_path, monkeypatch, said)
    assert [name for name in found if "throttled" in name or "llama" in name] == []


def test_a_server_without_a_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(tmp_path, monkeypatch, None, "loaded")
    assert found["llama_server_active"] == 1
    assert found["llama_server_restarts"] == 3
    assert "llama_server_ready" not in found
