"""What the gateway is made of, and what speaks against it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.gateway import (
    gateway_plan,
    gateway_problems,
    reached,
    secret_files,
    shared_key,
)
from naming import named, unnamed

CLIENT = "a-key-of-a-client-0123456789"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"
SETTINGS: dict[str, Any] = {
    "host": "0.0.0.0",
    "port": 8443,
    "api_keys": [CLIENT],
    "tls_certificate": CERTIFICATE,
    "tls_key": PRIVATE,
    "allow_plain_http": False,
    "metrics_port": 8405,
}


def board(name: str, **changes: Any) -> dict[str, Any]:
    its = {"name": name, "address": f"{name}.local", "host": "0.0.0.0", "port": 8080, "parallel": 1}
    return {**its, "api_keys": [f"of-{name}", "of-all"], **changes}


BOARDS = [board("pi-01"), board("pi-02", parallel=2)]


def test_the_key_that_all_boards_have() -> None:
    assert shared_key(BOARDS) == "of-all"
    assert shared_key([BOARDS[0], board("pi-02", api_keys=[])]) == "of-pi-01"
    assert shared_key([BOARDS[0], board("pi-02", api_keys=["other"])]) == ""
    assert shared_key([board("pi-01", api_keys=[])]) == ""


def test_secret_files_hold_digests_of_the_clients_keys() -> None:
    files = secret_files(SETTINGS, BOARDS)
    assert files["keys"] == hashlib.sha256(CLIENT.encode()).hexdigest().upper() + "\n"
    assert files["board"] == "key of-all\n"
    assert files["tls.pem"] == f"{CERTIFICATE}\n{PRIVATE}"
    nothing = {**SETTINGS, "api_keys": [], "tls_certificate": "", "tls_key": ""}
    assert secret_files(nothing, [board("pi-01", api_keys=[])]) == {}


def test_the_plan_names_boards_and_holds_no_secret() -> None:
    plan = gateway_plan([*BOARDS, board("pi-03", address="fd00::3"), board("pi-04", address="10.0.0.4")], SETTINGS, [])
    assert plan["servers"][1] == {"name": "pi-02", "at": "pi-02.local:8080", "slots": 2}
    assert plan["servers"][2]["at"] == "[fd00::3]:8080"
    assert plan["names"] == ["pi-01.local", "pi-02.local"]
    assert plan["files"] == ["board", "keys", "tls.pem"]
    for secret in (CLIENT, "of-all", PRIVATE):
        assert secret not in str(plan)


def test_a_server_on_loopback_is_reached_there_by_its_own_host() -> None:
    boards = [board("pi-01", host="127.0.0.1"), board("pi-02", host="::1"), board("pi-03")]
    for own_name, address in (("pi-01", "127.0.0.1"), ("pi-02", "::1"), ("pi-03", "pi-03.local")):
        found = {its["name"]: its["address"] for its in reached(boards, own_name)}
        assert found.pop(own_name) == address
        assert all(address == f"{name}.local" for name, address in found.items())


@pytest.mark.parametrize(
    "changed",
    [
        gateway_plan(BOARDS, {**SETTINGS, "api_keys": [CLIENT + "x"]}, ["text"]),
        gateway_plan(BOARDS, {**SETTINGS, "tls_key": PRIVATE + "x"}, ["text"]),
        gateway_plan(BOARDS, {**SETTINGS, "port": 443}, ["text"]),
        gateway_plan(BOARDS, SETTINGS, ["other text"]),
        gateway_plan(BOARDS[:1], SETTINGS, ["text"]),
    ],
)
def test_whatever_changes_gives_another_key(changed: dict[str, Any]) -> None:
    assert changed["key"] != gateway_plan(BOARDS, SETTINGS, ["text"])["key"]


def test_nothing_speaks_against_a_safe_gateway() -> None:
    assert gateway_problems(BOARDS, SETTINGS, "gateway") == []
    alone = {**SETTINGS, "host": "127.0.0.1", "api_keys": [], "tls_certificate": "", "tls_key": ""}
    assert gateway_problems([board("pi-01", host="127.0.0.1", api_keys=[])], alone, "pi-01") == []


@pytest.mark.parametrize(
    ("settings", "boards", "names"),
    [
        ({}, [], ["gateway_boards"]),
        ({"api_keys": []}, BOARDS, ["gateway_host", "0.0.0.0", "gateway_api_keys"]),
        ({"api_keys": ["short"]}, BOARDS, ["gateway_api_keys", 16]),
        ({"api_keys": ["a key with blanks in it"]}, BOARDS, ["gateway_api_keys", 16]),
        (
            {"tls_certificate": "", "tls_key": ""},
            BOARDS,
            ["gateway_host", "0.0.0.0", "gateway_tls_certificate", "gateway_tls_key", "gateway_allow_plain_http"],
        ),
        ({"tls_key": ""}, BOARDS, ["gateway_tls_certificate", "gateway_tls_key"]),
        ({"tls_certificate": "/etc/tls.pem"}, BOARDS, ["gateway_tls_certificate", "gateway_tls_key", "PEM"]),
        ({"port": 0}, BOARDS, ["gateway_port", 0]),
        ({"metrics_port": 8443}, BOARDS, ["gateway_port", "gateway_metrics_port", 8443]),
        ({}, [board("pi-01", host="127.0.0.1")], ["pi-01", "llama_server_host", "127.0.0.1"]),
        ({}, [board("pi-01"), board("pi-02", api_keys=["x"])], ["pi-01", "pi-02", "llama_server_api_keys"]),
        ({"port": 8080}, [board("gateway")], ["gateway_port", 8080, "llama_server_port"]),
    ],
)
def test_what_is_refused(settings: dict[str, Any], boards: list[dict[str, Any]], names: list[Any]) -> None:
    problems = gateway_problems(boards, {**SETTINGS, **settings}, "gateway")
    assert len(problems) == 1
    assert unnamed(problems[0], *names) == []
    # What it names is the fault's own: no variable that another fault of this list is about.
    variables = ("boards", "host", "api_keys", "tls_certificate", "tls_key", "port", "metrics_port")
    said = {f"gateway_{name}" for name in variables if named(problems[0], f"gateway_{name}")}
    assert said == {name for name in names if str(name).startswith("gateway_")} - {"gateway_allow_plain_http"}
    assert named(problems[0], "PEM") == ("PEM" in names)
    assert CLIENT not in problems[0]


def test_plain_http_on_a_network_of_ones_own_is_allowed_by_name() -> None:
    plain = {**SETTINGS, "tls_certificate": "", "tls_key": "", "allow_plain_http": True}
    assert gateway_problems(BOARDS, plain, "gateway") == []
