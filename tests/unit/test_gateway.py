"""What the gateway is made of, and what speaks against it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.gateway import (
    gateway_boards,
    gateway_id,
    gateway_inputs,
    gateway_problems,
    kept_boards,
    key_digest,
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


def inputs(boards: list[dict[str, Any]], settings: dict[str, Any], source: str = "text") -> dict[str, Any]:
    return gateway_inputs(boards, settings, "gateway", [source])


def test_the_inputs_name_boards_and_hold_no_secret() -> None:
    made = inputs([*BOARDS, board("pi-03", address="fd00::3"), board("pi-04", address="10.0.0.4")], SETTINGS)
    assert made["servers"][1] == {"name": "pi-02", "at": "pi-02.local:8080", "slots": 2}
    assert made["servers"][2]["at"] == "[fd00::3]:8080"
    assert made["names"] == ["pi-01.local", "pi-02.local"]
    assert made["files"] == ["board", "keys", "tls.pem"]
    for secret in (CLIENT, "of-all", PRIVATE):
        assert secret not in str(made)


def test_a_server_on_loopback_is_reached_there_by_its_own_host() -> None:
    boards = [board("pi-01", host="127.0.0.1"), board("pi-02", host="::1"), board("pi-03")]
    for own_name, at in (("pi-01", "127.0.0.1:8080"), ("pi-02", "[::1]:8080"), ("pi-03", "pi-03.local:8080")):
        made = gateway_inputs(boards, SETTINGS, own_name, [])
        found = {server["name"]: server["at"] for server in made["servers"]}
        assert found.pop(own_name) == at
        assert all(address == f"{name}.local:8080" for name, address in found.items())


def test_boards_come_from_public_variables_and_the_defaults_of_the_server() -> None:
    hostvars: dict[str, dict[str, Any]] = {
        "pi-01": {},
        "pi-02": {"ansible_host": "10.0.0.2", "llama_server_port": "8090", "llama_server_parallel": 3},
        "pi-03": {
            "ansible_host": "10.0.0.3",
            "gateway_board_address": "pi-03.lan",
            "llama_server_host": "0.0.0.0",
            "llama_server_api_keys": ["of-pi-03"],
        },
    }
    assert gateway_boards(hostvars, hostvars) == [
        found("pi-01", "pi-01", "127.0.0.1", 8080),
        found("pi-02", "10.0.0.2", "127.0.0.1", 8090, parallel=3),
        found("pi-03", "pi-03.lan", "0.0.0.0", 8080, api_keys=["of-pi-03"]),
    ]


def found(name: str, address: str, host: str, port: int, **changes: Any) -> dict[str, Any]:
    its = {"name": name, "address": address, "host": host, "port": port, "parallel": 1, "api_keys": []}
    its |= {"asked": False, "serves": False}
    return {**its, **changes}


def test_what_serves_counts_more_than_what_is_to_serve() -> None:
    wish = {"llama_server_host": "0.0.0.0", "llama_server_port": 8090, "llama_server_api_keys": ["new"]}
    serves = {"host": "10.0.0.1", "port": 8080, "parallel": 2, "api_keys": ["old"]}
    hostvars = {"pi-01": {**wish, "llama_server_serving": serves}, "pi-02": {**wish, "llama_server_serving": {}}}
    assert gateway_boards(hostvars, hostvars) == [
        found("pi-01", "pi-01", "10.0.0.1", 8080, parallel=2, api_keys=["old"], asked=True, serves=True),
        # Nothing serves there yet.
        found("pi-02", "pi-02", "0.0.0.0", 8090, api_keys=["new"], asked=True),
    ]
    assert gateway_boards(["pi-03"], {"pi-03": {"llama_server_plan": {}}}, "llama_server_plan")[0]["asked"]


def test_a_key_that_stays_comes_before_a_former_one() -> None:
    serves = {"host": "10.0.0.1", "port": 8080, "parallel": 1, "api_keys": ["old", "other", "new"]}
    hostvars = {"pi-01": {"llama_server_api_keys": ["new", "not there yet"], "llama_server_serving": serves}}
    assert gateway_boards(hostvars, hostvars)[0]["api_keys"] == ["new", "old", "other"]


def test_a_new_key_is_no_problem_where_a_board_was_not_asked() -> None:
    """Boards that change keep the key that the others have."""
    kept = board("pi-01", asked=False, api_keys=["old"])
    wished = board("pi-02", asked=True, serves=False, api_keys=["new"])
    assert gateway_problems([kept, wished], SETTINGS, "gateway") == []
    serves = board("pi-02", asked=True, serves=True, api_keys=["new"])
    assert len(gateway_problems([kept, serves], SETTINGS, "gateway")) == 1


CONFIGURATION = """\
frontend api
    bind 0.0.0.0:8443

backend boards
    server pi-01 10.0.0.1:8080 maxconn 1
    server pi-02 [fd00::2]:8090 maxconn 2

backend information
    server pi-01 10.0.0.1:8080 maxconn 1 track boards/pi-01
"""


def test_a_board_that_was_not_asked_stays_as_the_gateway_has_it() -> None:
    boards = [board("pi-01", asked=True), board("pi-02", asked=False), board("pi-03", asked=False)]
    first, second, third = kept_boards(boards, CONFIGURATION, "key of-all-before\n")
    assert first == boards[0]
    assert (second["address"], second["port"], second["parallel"]) == ("fd00::2", 8090, 2)
    assert second["api_keys"] == ["of-all-before"]
    # The gateway does not know it yet.
    assert third == boards[2]
    assert kept_boards(boards, "", "") == boards
    at = [server["at"] for server in gateway_inputs([first, second, third], SETTINGS, "gateway", [])["servers"]]
    assert at == ["pi-01.local:8080", "[fd00::2]:8090", "pi-03.local:8080"]


def test_as_long_as_one_board_has_only_the_former_key_it_is_used() -> None:
    former, both, present = (board("pi", api_keys=keys) for keys in (["a"], ["b", "a"], ["b"]))
    for boards, key in (([former, both], "a"), ([both, both], "b"), ([both, present], "b")):
        assert shared_key(boards) == key
        assert key_digest(boards) == hashlib.sha256(key.encode()).hexdigest()
    assert key_digest([board("pi", api_keys=[])]) == ""


@pytest.mark.parametrize(
    "changed",
    [
        inputs(BOARDS, {**SETTINGS, "api_keys": [CLIENT + "x"]}),
        inputs(BOARDS, {**SETTINGS, "tls_key": PRIVATE + "x"}),
        inputs(BOARDS, {**SETTINGS, "port": 443}),
        inputs(BOARDS, SETTINGS, "other text"),
        inputs(BOARDS[:1], SETTINGS),
    ],
)
def test_whatever_changes_gives_another_id(changed: dict[str, Any]) -> None:
    assert gateway_id(changed) != gateway_id(inputs(BOARDS, SETTINGS))


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
