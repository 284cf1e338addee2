"""A board tells Prometheus that it is throttled and whether it serves, and tells nobody else."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import changed, refused, stats

PLAYBOOK = "playbooks/metrics.yml"
# Of the words "fixture password".
HASHED = "$2b$06$WgHy5qLlB5skbYNCIAfRn.EG18AR26P8rge6OjZD9oeaWah3s9aY."


def metrics(board: Any) -> dict[str, float]:
    """{name with labels: value} of what the exporter gives, Go's and its own left out."""
    text = board.check_output(
        "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:9100/metrics').read().decode())\""
    )
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if re.match(r"(pi|llama|node)_", line)]
    return {name: float(value) for name, value in lines}


def looked(board: Any) -> dict[str, float]:
    """The metrics after another look at the board."""
    board.check_output("systemctl start pi-metrics.service")
    return metrics(board)


def test_the_throttling_bits_are_decoded(board: Any) -> None:
    found = looked(board)
    for condition, value in (("under_voltage", 1), ("frequency_capped", 0), ("throttled", 1)):
        assert found[f'pi_throttled{{condition="{condition}"}}'] == value
        assert found[f'pi_throttled_since_boot{{condition="{condition}"}}'] == value
    assert found['pi_throttled{condition="soft_temperature_limit"}'] == 0


def test_a_board_without_the_tool_gives_no_such_metric(board: Any) -> None:
    board.check_output("mv /usr/bin/vcgencmd /usr/bin/vcgencmd.away")
    found = looked(board)
    board.check_output("mv /usr/bin/vcgencmd.away /usr/bin/vcgencmd")
    assert [name for name in found if name.startswith("pi_throttled")] == []
    assert found["llama_server_active"] == 1


def test_the_server_is_told_of(board: Any) -> None:
    deployment = json.loads(board.file("/var/lib/llama/current/deployment.json").content_string)
    found = looked(board)
    assert found["llama_server_active"] == 1
    assert found["llama_server_ready"] == 1
    labels = f'deployment="{deployment["key"]}",engine="{deployment["engine"]}",model="{deployment["model"][:12]}"'
    assert found[f"llama_server_deployment{{{labels}}}"] == 1
    board.check_output("systemctl stop llama-server")
    try:
        found = looked(board)
    finally:
        board.check_output("systemctl start llama-server")
    assert found["llama_server_active"] == 0
    assert found["llama_server_ready"] == 0


def test_a_server_that_hangs_is_neither_ready_nor_not(board: Any) -> None:
    board.check_output("systemctl kill --signal=STOP llama-server")
    try:
        found = looked(board)
    finally:
        board.check_output("systemctl kill --signal=CONT llama-server")
    assert found["llama_server_active"] == 1
    assert "llama_server_ready" not in found


def test_the_timer_looks_again_and_says_nothing(board: Any) -> None:
    assert board.service("pi-metrics.timer").is_running
    assert board.service("pi-metrics.timer").is_enabled
    before = board.file("/run/pi-metrics/pi.prom").mtime
    for _ in range(40):
        if board.file("/run/pi-metrics/pi.prom").mtime > before:
            break
        time.sleep(1)
    else:
        raise AssertionError(board.run("systemctl list-timers; journalctl -u pi-metrics -n 20").stdout)
    assert "Finished" not in board.check_output("journalctl -u pi-metrics.service --no-pager")


def test_many_looks_within_seconds_are_allowed(board: Any) -> None:
    # systemd's own limit is five starts in ten seconds.
    board.check_output("for look in 1 2 3 4 5 6 7 8; do systemctl start pi-metrics.service || exit 1; done")


def test_it_listens_on_loopback_only(board: Any) -> None:
    listening = {line.split()[3] for line in board.check_output("ss -ltnH").splitlines()}
    assert listening == {"0.0.0.0:22", "[::]:22", "127.0.0.1:8080", "127.0.0.1:9100"}


@pytest.mark.parametrize("unit", ["pi-metrics.service", "prometheus-node-exporter.service"])
def test_the_units_are_confined(board: Any, unit: str) -> None:
    shown = board.check_output("systemd-analyze security %s --no-pager", unit)
    assert float(re.search(r"Overall exposure level for \S+: ([\d.]+)", shown)[1]) <= 3.0, shown  # type: ignore[index]


def test_check_mode_finds_nothing_to_do(play: Any) -> None:
    run = play(PLAYBOOK, "--check")
    assert run.returncode == 0, run.stdout
    assert stats(run.stdout)["pi-01"]["changed"] == 0


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        (
            {"pi_metrics_host": "0.0.0.0"},
            ["pi_metrics_host", "0.0.0.0", "pi_metrics_users"],
        ),
        (
            {"pi_metrics_host": "0.0.0.0", "pi_metrics_users": {"prometheus": HASHED}},
            ["pi_metrics_host", "0.0.0.0", "pi_metrics_tls_certificate", "pi_metrics_tls_key"],
        ),
        ({"pi_metrics_users": {"prometheus": "in clear"}}, ["pi_metrics_users", "prometheus"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_changed(
    play: Any, variables: dict[str, Any], names: list[str]
) -> None:
    run = play(PLAYBOOK, "-e", json.dumps(variables))
    assert run.returncode == 2
    assert unnamed(refused(run.stdout, "pi-01"), "pi-01", *names) == []
    assert changed(run.stdout) == 0


def test_beyond_loopback_it_asks_for_a_password_over_tls(board: Any, play: Any, tmp_path: Path) -> None:
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN=pi-01"
        " -addext subjectAltName=IP:127.0.0.1 -keyout tls.key -out tls.crt"
    )
    subprocess.run(
        words.split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    variables = {
        "pi_metrics_host": "0.0.0.0",
        "pi_metrics_users": {"prometheus": HASHED},
        "pi_metrics_tls_certificate": (tmp_path / "tls.crt").read_text(),
        "pi_metrics_tls_key": (tmp_path / "tls.key").read_text(),
        "llama_server_host": "192.0.2.7",
    }
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    run = play(PLAYBOOK, "-vvv", "--diff", "-e", f"@{tmp_path}/variables.json", plain=True)
    assert run.returncode == 0, run.stdout
    for secret in (HASHED, "BEGIN PRIVATE KEY"):
        assert secret not in run.stdout
    assert board.socket("tcp://0.0.0.0:9100").is_listening
    # The server would be asked there, and the look may connect to nothing else.
    allowed = board.check_output("systemctl show -P IPAddressAllow pi-metrics.service").split()
    assert set(allowed) == {"127.0.0.0/8", "::1/128", "192.0.2.7/32"}
    program = (
        "import base64, ssl, sys, urllib.error, urllib.request as r\n"
        "head = {'Authorization': 'Basic ' + base64.b64encode(sys.argv[1].encode()).decode()} if sys.argv[1] else {}\n"
        "trust = ssl.create_default_context(cafile='/etc/pi-metrics/tls.crt')\n"
        "trust.verify_flags &= ~ssl.VERIFY_X509_STRICT\n"
        "try: print(r.urlopen(r.Request('https://127.0.0.1:9100/metrics', headers=head), context=trust).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    for name, status in (("", "401"), ("prometheus:guessed", "401"), ("prometheus:fixture password", "200")):
        assert board.check_output("python3 -c %s %s", program, name) == status
    files = board.check_output("find /etc/pi-metrics -type f -printf '%U:%g:%m '").split()
    assert set(files) == {"0:prometheus:640"}


def test_the_alert_rules_do_what_they_say(board: Any) -> None:
    board.check_output("cd /opt && promtool check rules alerts.yml")
    run = board.run("cd /opt && promtool test rules alerts_test.yml")
    assert run.rc == 0, run.stdout + run.stderr


def test_removing_leaves_nothing(board: Any, play: Any) -> None:
    """The last test: after it there are no metrics."""
    told = play("playbooks/remove.yml", "--check")
    assert told.returncode == 0, told.stdout
    keep = json.dumps({"keep": ["models", "engine", "board"]})
    assert play("playbooks/remove.yml", "-e", keep).returncode == 0
    units = "/etc/systemd/system"
    for path in ("/etc/pi-metrics", "/usr/local/lib/pi-metrics", f"{units}/pi-metrics.timer", "/run/pi-metrics"):
        assert not board.file(path).exists
    listening = {line.split()[3] for line in board.check_output("ss -ltnH").splitlines()}
    assert listening == {"0.0.0.0:22", "[::]:22"}
    assert play("playbooks/remove.yml").returncode == 0
    assert not board.file("/opt/ik_llama").exists
    assert changed(play("playbooks/remove.yml").stdout) == 0
