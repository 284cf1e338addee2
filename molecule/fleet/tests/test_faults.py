"""What a board survives. Each test says what broke, how long there was no service, and that nothing was lost.

They run one after the other on one board, which serves the whole model again after each of them.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from naming import named, unnamed
from runs import changed, facts, refused, results, shown, stats

LETTERS = "abcdefghijkl"
MODEL = "/var/lib/llama/models/alphabet/current.gguf"
SERVER = "/opt/ik_llama/current/bin/llama-server"


@pytest.fixture
def site(play: Any) -> Callable[..., Any]:
    """Run site.yml on the board that faults are made on."""
    return functools.partial(play, "site.yml", "--limit", "pi-04,localhost")


@pytest.fixture
def serve(play: Any) -> Callable[..., Any]:
    """Run serve.yml on it, which neither looks at the engine nor at the model."""
    return functools.partial(play, "playbooks/serve.yml", "--limit", "pi-04")


@pytest.fixture(autouse=True)
def whole_before_and_after(board: Any, asked: Any) -> Any:
    model = board.check_output(f"readlink -f {MODEL}")
    digest = board.check_output(f"sha256sum {model}")
    yield
    assert asked(board, 8080) == LETTERS
    assert board.check_output(f"sha256sum {model}") == digest


def pid(board: Any) -> str:
    return str(board.check_output("systemctl show -P MainPID llama-server"))


def test_server_killed(board: Any, asked: Any, outage: Any) -> None:
    before = pid(board)
    with outage(board) as seconds:
        board.check_output("systemctl kill --signal=KILL llama-server")
        time.sleep(3)
        assert asked(board, 8080) == LETTERS
    assert pid(board) != before
    assert 0 < seconds[0] < 15


def test_server_that_cannot_start_for_a_while(board: Any, asked: Any) -> None:
    """systemd's own limit is five starts; here they follow one another faster than the unit says."""
    drop_in = "/run/systemd/system/llama-server.service.d"
    current = "/var/lib/llama/current"
    board.check_output(f"mkdir -p {drop_in} && printf '[Service]\\nRestartSec=100ms\\n' > {drop_in}/fast.conf")
    board.check_output(f"systemctl daemon-reload && mv {current} {current}.away")
    try:
        board.check_output("systemctl kill --signal=KILL llama-server")
        deadline = time.monotonic() + 30
        while int(board.check_output("systemctl show -P NRestarts llama-server")) < 15:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        board.check_output(f"mv {current}.away {current}; rm -r {drop_in}; systemctl daemon-reload")
    assert asked(board, 8080) == LETTERS


#: Two conversations at once: with two slots an assertion of this engine fails (flash attention, S > 0).
TWO_AT_ONCE = """
import json, threading, urllib.request as r
body = {"messages": [{"role": "user", "content": "x " * 700}], "max_tokens": 300}
def ask():
    try:
        r.urlopen(r.Request("http://127.0.0.1:8080/v1/chat/completions", json.dumps(body).encode()), timeout=120).read()
    except OSError:
        pass
threads = [threading.Thread(target=ask) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def wait_for_health(board: Any) -> None:
    """Wait until the server says that it is healthy. A watchdog of seconds cuts off questions on a busy machine."""
    asks = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=5)"
    deadline = time.monotonic() + 60
    while board.run("python3 -c %s", asks).rc != 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_files_that_somebody_changed(board: Any, play: Any, serve: Any, tmp_path: Any) -> None:
    """The table names them; the next run writes them again, and starts the server by them."""
    folder = "/var/lib/llama/current"
    before = board.check_output(f"sha256sum {folder}/run {folder}/watchdog")
    process = pid(board)
    board.check_output(f"echo '# by hand' | tee --append {folder}/run >> {folder}/watchdog")
    table = tmp_path / "status.json"
    run = play("playbooks/status.yml", "--limit", "pi-04", "-e", f"status_file={table}")
    assert run.returncode == 0, run.stdout
    (status,) = json.loads(table.read_text())
    assert any(not unnamed(change, "run", "watchdog") for change in status["changes"]), status["changes"]
    run = serve()
    assert run.returncode == 0, run.stdout
    assert any(not unnamed(line, "pi-04", "run", "watchdog") for line in shown(run.stdout, "pi-04").splitlines())
    assert board.check_output(f"sha256sum {folder}/run {folder}/watchdog") == before
    assert pid(board) != process
    assert changed(serve().stdout) == 0


def test_an_assertion_fails(board: Any, serve: Any, outage: Any) -> None:
    """It ends the server at once, although there is no debugger. By default such a deployment is refused."""
    run = serve("-e", "llama_server_parallel=2")
    assert run.returncode == 2, run.stdout
    assert unnamed(refused(run.stdout, "pi-04"), "llama_server_allow_hazards", "slots-mix-recurrent-state") == []
    run = serve("-e", "llama_server_parallel=2", "-e", "llama_server_allow_hazards=all")
    assert run.returncode == 0, run.stdout
    assert board.run("command -v gdb").rc != 0
    before = pid(board)
    with outage(board) as seconds:
        board.check_output("python3 -c %s", TWO_AT_ONCE)
        time.sleep(2)
        wait_for_health(board)
    assert pid(board) != before
    log = board.check_output("journalctl -u llama-server -n 5000 --no-pager")
    assert "GGML_ASSERT" in log
    assert "status=6/ABRT" in log
    assert 4 < seconds[0] < 15


#: Seconds. On a busy machine one question takes longer than ten.
WATCHDOG = 20


#: Options, and the least and the longest time without service in seconds. Without an answer, whatever the server does;
#: and sooner, because it does nothing.
HANGS = [
    ({"llama_server_watchdog_seconds": WATCHDOG}, WATCHDOG - 4, WATCHDOG + 17),
    ({"llama_server_stalled_seconds": 10}, 10, 60),
]


def test_server_hangs(board: Any, serve: Any, outage: Any) -> None:
    for options, least, most in HANGS:
        run = serve("-e", json.dumps(options))
        assert run.returncode == 0, shown(run.stdout)
        before = pid(board)
        with outage(board) as seconds:
            board.check_output(f"kill -STOP {before}")
            wait_for_health(board)
        assert pid(board) != before
        assert "Watchdog request" in board.check_output("journalctl -u llama-server -n 5000 --no-pager --since=-2min")
        assert least < seconds[0] < most
    assert serve().returncode == 0


def test_model_file_deleted(board: Any, site: Any, asked: Any, outage: Any) -> None:
    before = pid(board)
    with outage(board) as seconds:
        board.check_output(f"rm {board.check_output(f'readlink -f {MODEL}')}")
        run = site()
        assert run.returncode == 0, run.stdout
    assert pid(board) == before  # it kept its own hold on the file
    assert seconds[0] == 0
    board.check_output("systemctl restart llama-server")


def test_model_file_unreadable(board: Any, site: Any, asked: Any, outage: Any) -> None:
    before = pid(board)
    with outage(board) as seconds:
        board.check_output(f"chmod 000 {board.check_output(f'readlink -f {MODEL}')}")
        run = site()
        assert run.returncode == 0, run.stdout
    assert pid(board) == before
    assert seconds[0] == 0
    board.check_output("systemctl restart llama-server")


def test_model_file_truncated(board: Any, site: Any, asked: Any, outage: Any) -> None:
    with outage(board) as seconds:
        board.check_output(f"truncate --size=4096 {board.check_output(f'readlink -f {MODEL}')}")
        board.run("systemctl kill --signal=KILL llama-server")  # as the first touch of a missing page does
        time.sleep(2)
        run = site()
        assert run.returncode == 0, run.stdout
    assert "serve_failure" not in facts(run.stdout, "pi-04")
    assert "serve_outcome" in facts(run.stdout, "pi-04")
    assert 0 < seconds[0] < 90


def test_engine_replaced_by_garbage(board: Any, site: Any, asked: Any, outage: Any) -> None:
    with outage(board) as seconds:
        engine = board.check_output(f"readlink -f {SERVER}")
        board.check_output(
            f"head -c 1000000 /dev/urandom > {engine}.x && chmod 755 {engine}.x && mv {engine}.x {engine}"
        )
        run = site()
        assert run.returncode == 0, run.stdout
    assert seconds[0] == 0
    board.check_output("systemctl restart llama-server")


def test_port_taken(board: Any, site: Any, outage: Any) -> None:
    before = pid(board)
    squatter = "import socket, time; s = socket.create_server((chr(49) + '27.0.0.1', 9090)); time.sleep(600)"
    board.check_output("systemd-run --quiet --collect --unit=squatter python3 -c %s", squatter)
    try:
        with outage(board) as seconds:
            run = site("-e", "llama_server_port=9090")
        assert run.returncode == 2
        squatting = board.check_output("systemctl show -P MainPID squatter")
        assert unnamed(refused(run.stdout, "pi-04"), "pi-04", 9090, "llama_server_port", "python3", squatting) == []
        assert stats(run.stdout)["pi-04"]["changed"] == 0
        assert pid(board) == before
        assert seconds[0] == 0
    finally:
        board.check_output("systemctl stop squatter")


def test_disk_full(board: Any, serve: Any, outage: Any) -> None:
    before = pid(board)
    folder = "/var/lib/llama/deployments"
    board.check_output(
        f"cp -a {folder} /run/kept && mount -t tmpfs -o size=1m,mode=755 full {folder} && cp -a /run/kept/. {folder}/"
        f" && dd if=/dev/zero of={folder}/filler bs=4k status=none 2>/dev/null; true"
    )
    try:
        with outage(board) as seconds:
            run = serve("-e", "llama_server_context=8192")
        assert run.returncode == 2
        assert unnamed(refused(run.stdout, "pi-04"), folder.rpartition("/")[0], "No space left on device") == []
        assert "Traceback" not in run.stdout
        assert pid(board) == before
        assert seconds[0] == 0
    finally:
        board.check_output(f"umount {folder}; rm -r /run/kept")


def test_pointer_that_cannot_be_moved(board: Any, serve: Any, outage: Any) -> None:
    before, key = pid(board), board.check_output("readlink /var/lib/llama/current").rpartition("/")[2]
    in_the_way = "/var/lib/llama/.current.new"
    board.check_output(f"mkdir {in_the_way}")
    try:
        with outage(board) as seconds:
            run = serve("-e", "llama_server_context=8192")
        assert run.returncode == 2
        assert unnamed(facts(run.stdout, "pi-04")["serve_failure"], key, in_the_way, "Is a directory") == []
        assert pid(board) == before
        assert seconds[0] == 0
    finally:
        board.check_output(f"rmdir {in_the_way}")


def test_neither_the_new_nor_the_old_one_starts(board: Any, serve: Any) -> None:
    script = board.check_output("readlink -f /var/lib/llama/current/run")
    key = board.check_output("readlink /var/lib/llama/current").rpartition("/")[2]
    board.check_output(f"cp -p {script} /run/kept && printf '#!/bin/sh\\necho no paper; exit 1\\n' > {script}")
    try:
        run = serve("-e", '{"llama_server_extra": ["--chat-template", "{{ \'{{ messages[0].content }} hijk\' }}"]}')
        assert run.returncode == 2
        failure = facts(run.stdout, "pi-04")["serve_failure"]
        assert unnamed(failure, "pi-04", key) == []
        # The new one answers, and not as is wanted; the old one does not start; both are reported.
        asked = [result for result in results(run.stdout, "llama_answer") if result.outcome == "failed"]
        new, old = asked[0].data, asked[-1].data
        assert unnamed(new["msg"], "abcdefgh") == []
        assert not named(new["msg"], "no paper")
        assert unnamed(old["msg"], "llama-server.service", "no paper") == []
        assert not named(old["msg"], "abcdefgh")
        assert unnamed(failure, "abcdefgh", "no paper") == []
        assert board.run("systemctl is-active llama-server").stdout.strip() != "active"
    finally:
        board.check_output(f"cp -p /run/kept {script}; rm /run/kept")


def test_board_restarted(fleet: Any, board: Any, asked: Any) -> None:
    begun = time.monotonic()
    fleet.restart("pi-04")
    assert asked(board, 8080) == LETTERS
    assert time.monotonic() - begun < 60
