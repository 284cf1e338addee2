"""One URL for three boards: who may ask, what is refused, and what happens when a board dies."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from naming import unnamed
from runs import changed, refused, shown, stats

URL = "https://localhost:8443"
KEY = "key-of-a-client-0123456789"
SECRETS = [KEY, "key-of-another-client-0123456789", "key-of-all-boards-0123456789", "key-of-pi-01-alone-0123456789"]
PLAYBOOK = "playbooks/gateway.yml"
QUESTION = {"messages": [{"role": "user", "content": "What comes after g?"}], "temperature": 0}


def test_it_listens_where_it_must_and_nowhere_else(gateway: Any) -> None:
    listening = {line.split()[3] for line in gateway.check_output("ss -ltnH").splitlines()}
    assert listening == {"0.0.0.0:22", "[::]:22", "0.0.0.0:8443", "127.0.0.1:8405"}
    assert not gateway.service("haproxy").is_running
    assert not gateway.service("haproxy").is_enabled
    assert gateway.service("llama-gateway").is_enabled


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/models", "", 401),
        ("/v1/models", "not-a-key-of-anybody-0123456789", 401),
        ("/v1/models", "key-of-all-boards-0123456789", 401),
        ("/v1/models", KEY, 200),
        ("/v1/models", "key-of-another-client-0123456789", 200),
        ("/slots", KEY, 404),
        ("/metrics", "", 401),
        ("/health", "", 200),
    ],
)
def test_who_may_ask_what(client: Any, path: str, key: str, status: int) -> None:
    answer = client("one_request.py", URL + path, key, "")
    assert answer["status"] == status, answer
    if status == 401:
        assert json.loads(answer["body"])["error"]["type"] == "authentication_error"
        assert answer["headers"]["www-authenticate"] == "Bearer"


def test_an_answer_comes_as_it_is_made(client: Any) -> None:
    body = {**QUESTION, "max_tokens": 2000, "stream": True}
    answer = client("one_request.py", f"{URL}/v1/chat/completions", KEY, json.dumps(body))
    assert answer["body"].rstrip().endswith("data: [DONE]")
    assert len(answer["times"]) > 2000
    # Of answers that were kept until they end, all events come at once.
    first, middle, last = (answer["times"][at] for at in (0, len(answer["times"]) // 2, -1))
    assert first < 0.5 * last
    assert 0.2 * last < middle < 0.8 * last


def test_a_long_question_is_answered(client: Any) -> None:
    body = {"messages": [{"role": "user", "content": "abcd " * 400 + "g"}], "max_tokens": 3, "temperature": 0}
    answer = client("one_request.py", f"{URL}/v1/chat/completions", KEY, json.dumps(body))
    assert answer["status"] == 200, answer


@pytest.mark.parametrize("mode", [["--check"], []], ids=["check", "second"])
def test_nothing_is_left_to_do(play: Any, mode: list[str]) -> None:
    run = play(PLAYBOOK, *mode)
    assert run.returncode == 0, run.stdout
    assert stats(run.stdout)["gateway"]["changed"] == 0, run.stdout


def test_keys_are_in_no_argument_no_log_and_no_open_file(gateway: Any, play: Any) -> None:
    run = play(PLAYBOOK, "-vvv", "--diff", "-e", "gateway_queue_timeout=299", plain=True)
    assert run.returncode == 0, run.stdout
    shown = [
        run.stdout,
        run.stderr,
        gateway.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"),
        # sudo notes what the tests themselves call.
        "".join(
            line for line in gateway.check_output("journalctl --no-pager").splitlines() if "/root/client" not in line
        ),
        gateway.check_output("cat /etc/llama-gateway/haproxy.cfg /etc/systemd/system/llama-gateway.service"),
        gateway.check_output("cat /etc/llama-gateway/*/keys"),
    ]
    assert "timeout queue 299s" in shown[0]
    for text in shown:
        assert "BEGIN PRIVATE KEY" not in text
        for secret in SECRETS:
            assert secret not in text
    files = gateway.check_output("find /etc/llama-gateway -type f -printf '%U:%g:%m %f\\n'").splitlines()
    assert {line.split()[1] for line in files} == {"haproxy.cfg", "keys", "board", "tls.pem"}
    assert {line.split()[0] for line in files} == {"0:haproxy:640"}


def test_the_unit_is_confined(gateway: Any) -> None:
    shown = gateway.check_output("systemd-analyze security llama-gateway.service --no-pager")
    level = float(re.search(r"Overall exposure level for llama-gateway.service: ([\d.]+)", shown)[1])  # type: ignore[index]
    assert level <= 2.0, shown
    pid = gateway.check_output("systemctl show -P MainPID llama-gateway")
    assert f"Uid:\t{gateway.user('haproxy').uid}\t" in gateway.file(f"/proc/{pid}/status").content_string


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"gateway_api_keys": []}, ["gateway_host", "0.0.0.0", "gateway_api_keys"]),
        ({"gateway_tls_certificate": "", "gateway_tls_key": ""}, ["gateway_tls_certificate", "gateway_tls_key"]),
        ({"gateway_api_keys": ["short"]}, ["gateway_api_keys", 16]),
        ({"gateway_board_address": "nowhere.invalid"}, ["gateway_board_address", "nowhere.invalid"]),
        ({"gateway_port": "many"}, ["gateway_port"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_changed(
    play: Any, variables: dict[str, Any], names: list[Any]
) -> None:
    run = play(PLAYBOOK, "-e", json.dumps(variables))
    assert run.returncode == 2
    assert unnamed(refused(run.stdout, "gateway"), *names) == []
    assert changed(run.stdout) == 0


def test_a_board_that_it_could_not_reach_is_named_before_anything_is_changed(play: Any) -> None:
    run = play("playbooks/preflight.yml", "-e", "llama_server_host=127.0.0.1")
    assert run.returncode == 2
    assert unnamed(refused(run.stdout, "gateway"), "pi-01", "llama_server_host", "127.0.0.1") == []
    assert changed(run.stdout) == 0


def test_a_configuration_that_haproxy_refuses_is_not_put_in_place(gateway: Any, play: Any, client: Any) -> None:
    before = gateway.file("/etc/llama-gateway/haproxy.cfg").sha256sum
    run = play(PLAYBOOK, "-e", json.dumps({"gateway_paths": ["/v1/ } nonsense {"]}))
    assert run.returncode == 2
    assert gateway.file("/etc/llama-gateway/haproxy.cfg").sha256sum == before
    assert client("one_request.py", f"{URL}/v1/models", KEY, "")["status"] == 200


def test_a_configuration_that_does_not_serve_is_replaced_by_the_previous(gateway: Any, play: Any, client: Any) -> None:
    """Port 443 needs another unit: it must come back too, or the configuration before it cannot serve."""
    assert play(PLAYBOOK, "-e", "gateway_port=443").returncode == 0
    files = ["/etc/llama-gateway/haproxy.cfg", "/etc/systemd/system/llama-gateway.service"]
    before = [gateway.file(path).sha256sum for path in files]
    gateway.check_output("systemd-run --unit=other-server python3 -m http.server 9000 --directory /srv")
    run = play(PLAYBOOK, "-e", "gateway_port=9000")
    gateway.check_output("systemctl stop other-server")
    assert run.returncode == 2
    assert unnamed(refused(run.stdout, "gateway"), "gateway", 9000) == []
    assert gateway.service("llama-gateway").is_running
    assert [gateway.file(path).sha256sum for path in files] == before
    assert client("one_request.py", "https://localhost:443/v1/models", KEY, "")["status"] == 200


def test_an_interrupted_run_is_continued(gateway: Any, play: Any) -> None:
    """The configuration is written, and another one is in service."""
    assert play(PLAYBOOK).returncode == 0
    path = "/etc/llama-gateway/haproxy.cfg"
    key = re.search(r"configuration (\w+)\.", gateway.file(path).content_string)[1]  # type: ignore[index]
    gateway.check_output(f"cp -p {path} /root/written && sed -i s/{key}/before/ {path}")
    gateway.check_output("systemctl reload llama-gateway")
    asked = "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8405/configuration').read())\""
    for _ in range(20):
        if "before" in gateway.run(asked).stdout:
            break
        time.sleep(0.5)
    gateway.check_output(f"mv /root/written {path}")
    run = play(PLAYBOOK)
    assert run.returncode == 0, run.stdout
    assert key in gateway.check_output(asked)


def test_a_configuration_behind_which_no_board_answers_is_replaced_by_the_previous(play: Any, client: Any) -> None:
    """The addresses are of a network that is for documentation."""
    run = play(PLAYBOOK, "-e", "gateway_board_address=192.0.2.1")
    assert run.returncode == 2
    assert unnamed(refused(run.stdout, "gateway"), "192.0.2.1:8080", "gateway_board_address") == []
    assert client("one_request.py", f"{URL}/v1/models", KEY, "")["status"] == 200
    assert stats(play(PLAYBOOK).stdout)["gateway"]["changed"] == 0


def die(podman: Any, fleet: Any, way: str, victim: str) -> None:
    """Kill a board: its container, or the server alone, whose port then refuses connections at once."""
    if way == "container":
        podman("kill", f"gateway-{victim}")
    else:
        fleet.host(victim).check_output("systemctl kill --signal=KILL llama-server")


@pytest.mark.parametrize(("way", "victim", "requests"), [("container", "pi-02", 200), ("server", "pi-03", 80)])
def test_a_board_that_dies_and_comes_back(
    client: Any, load: Any, podman: Any, fleet: Any, capsys: Any, way: str, victim: str, requests: int
) -> None:
    """Requests, six at a time, while one of three boards is killed and comes back."""
    first = client("servers.py")
    begun = time.time()
    thread, results = load(client, requests, 1.0)
    time.sleep(4)
    for _ in range(100):
        before = client("servers.py")[victim]
        if int(before["scur"]):
            break
    killed = time.time()
    die(podman, fleet, way, victim)
    gone_at = 0.0
    while thread.is_alive() and not gone_at:
        if client("servers.py")[victim]["status"].startswith("DOWN"):
            gone_at = time.time()
    started = time.time()
    if way == "container":
        podman("start", f"gateway-{victim}")
    back_at = 0.0
    there = before
    while thread.is_alive() and not back_at:
        there = client("servers.py")[victim]
        if there["status"].startswith("UP"):
            back_at = time.time()
    thread.join()
    after = client("servers.py")
    failed = [result for result in results if result["wrong"]]
    answered = {name: int(after[name]["stot"]) - int(first[name]["stot"]) for name in ("pi-01", "pi-02", "pi-03")}
    again = [int(after["BACKEND"][name]) - int(first["BACKEND"][name]) for name in ("wretr", "wredis")]
    summary = (
        f"\n{len(results)} requests in {max(result['ended'] for result in results) - begun:.0f} s;"
        f" {way} of {victim} killed after {killed - begun:.1f} s with {before['scur']} in flight on it,"
        f" noticed {gone_at - killed:.1f} s later, serving again {back_at - started:.1f} s after that;"
        f" failed: {len(failed)} ({sum(result['stream'] for result in failed)} streamed);"
        f" sent again: {again[0]} to the same, {again[1]} to another board;"
        f" longest answer {max(result['ended'] - result['begun'] for result in results):.1f} s; went to {answered}"
    )
    with capsys.disabled():
        print(summary)
    assert len(results) == requests
    assert gone_at, summary
    assert back_at, summary
    assert len(failed) <= int(before["scur"]), failed
    assert int(after[victim]["stot"]) > int(there["stot"]), summary


def test_its_metrics_are_there_for_this_host_alone(gateway: Any) -> None:
    metrics = gateway.check_output(
        "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8405/metrics').read().decode())\""
    )
    assert 'haproxy_server_status{proxy="boards",server="pi-02",state="UP"} 1' in metrics


def test_removing_leaves_nothing(gateway: Any, play: Any) -> None:
    """The last test: after it there is no gateway."""
    assert play("playbooks/remove.yml", "--limit", "gateways").returncode == 0
    for path in ("/etc/llama-gateway", "/etc/systemd/system/llama-gateway.service", "/run/llama-gateway"):
        assert not gateway.file(path).exists
    listening = {line.split()[3] for line in gateway.check_output("ss -ltnH").splitlines()}
    assert listening == {"0.0.0.0:22", "[::]:22"}
    assert changed(play("playbooks/remove.yml", "--limit", "gateways").stdout) == 0
    gateway.check_output("apt-get purge -qq -y haproxy")
    run = play(PLAYBOOK, "--check")
    assert run.returncode == 0, run.stdout
    assert any(not unnamed(line, "gateway", "haproxy") for line in shown(run.stdout, "gateway", "ok").splitlines())
    assert not gateway.package("haproxy").is_installed
    assert not gateway.file("/etc/llama-gateway").exists
