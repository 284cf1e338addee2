"""llama-server's command line, from what a user sets, and what the server says against it."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.server.arguments import (
    complaint,
    served_at,
    server_arguments,
    server_options,
)
from boards import PROJECT, Fleet
from naming import unnamed

OPTIONS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 8080,
    "threads": 3,
    "threads_batch": 4,
    "context": 16384,
    "parallel": 1,
    "cache_type_k": "f16",
    "cache_type_v": "f16",
    "batch": 512,
    "ubatch": 512,
    "mlock": True,
    "cache_ram_mib": 0,
    "ctx_checkpoints": 4,
    "jinja": True,
    "metrics": False,
    "alias": "m",
    "api_key_file": "",
    "extra": [],
}


def words(options: dict[str, Any]) -> str:
    return " ".join(word for flag in server_arguments(options) for word in flag)


def test_the_card_s_options_are_there() -> None:
    line = words(OPTIONS)
    for part in ("--threads 3", "--threads-batch 4", "--ctx-size 16384", "--mlock", "--log-disable", "--port 8080"):
        assert part in line
    assert "--cache-ram 0" in line
    assert "--ctx-checkpoints 4" in line
    assert "--api-key-file" not in line


def test_switches_and_key_file() -> None:
    assert "--metrics" not in words(OPTIONS)
    line = words({**OPTIONS, "mlock": False, "jinja": False, "metrics": True, "api_key_file": "/etc/keys"})
    assert "--metrics" in line
    assert "--mlock" not in line
    assert "--jinja" not in line
    assert "--api-key-file /etc/keys" in line


def test_extra_words_keep_to_their_flags() -> None:
    extra = ["--temp", "0.2", "--seed", "-1", "-fa", "on"]
    assert server_arguments({**OPTIONS, "extra": extra})[-3:] == [["--temp", "0.2"], ["--seed", "-1"], ["-fa", "on"]]


def test_a_complaint_stands_before_the_help() -> None:
    help_text = "usage: llama-server [options]\n  -c, --ctx-size N\n"
    assert complaint("\n" + help_text) is None
    assert complaint("error: unknown argument: --prot\n" + help_text) == "error: unknown argument: --prot"
    with pytest.raises(ValueError) as caught:
        complaint("Illegal instruction\n")
    assert unnamed(caught.value, "Illegal instruction") == []
    with pytest.raises(ValueError) as caught:
        complaint("")
    assert str(caught.value)


def script(arguments: list[list[str]], watchdog_seconds: int = 0) -> str:
    """Render the start script of a deployment."""
    environment = jinja2.Environment(trim_blocks=True, autoescape=False)
    environment.filters["quote"] = shlex.quote
    text = (PROJECT / "roles/llama_server/templates/run.j2").read_text(encoding="utf-8")
    return (
        environment.from_string(text).render(
            llama_server__arguments=arguments,
            llama_server__url="http://127.0.0.1:8080",
            llama_server_watchdog_seconds=watchdog_seconds,
            llama_server_start_timeout=900,
            llama_server_stalled_seconds=60,
        )
        + "\n"
    )


def deployment(folder: Path, text: str) -> Path:
    """Make a folder with a start script and a server that prints its words, and return the script."""
    (folder / "engine/bin").mkdir(parents=True)
    server = folder / "engine/bin/llama-server"
    server.write_text("#!/bin/sh\npwd\nprintf '%s\\n' \"$@\"\n")
    (folder / "run").write_text(text)
    for file in (server, folder / "run"):
        file.chmod(0o755)
    return folder / "run"


def test_the_script_hands_every_word_over_as_it_is(tmp_path: Path) -> None:
    arguments = [["--alias", "a b"], ["--chat-template-kwargs", '{"x": "$HOME \'q\'"}'], ["--mlock"]]
    run = deployment(tmp_path / "deployment", script(arguments))
    (tmp_path / "current").symlink_to("deployment")
    for started in (run, tmp_path / "current/run"):
        lines = subprocess.run([str(started)], cwd="/", capture_output=True, text=True, check=True).stdout.splitlines()
        assert lines == [
            str(tmp_path / "deployment"),
            "--model",
            "./model",
            *(word for flag in arguments for word in flag),
        ]


def test_the_script_starts_the_watchdog_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/watchdog").write_text(
        "import pathlib, sys\npathlib.Path('seen').write_text(' '.join(sys.argv[1:]))\n"
    )
    run = deployment(tmp_path / "d", script([["--mlock"]], watchdog_seconds=30))
    with subprocess.Popen([str(run)], stdout=subprocess.PIPE, text=True) as process:
        process.communicate(timeout=20)
    assert (tmp_path / "d/seen").read_text() == "http://127.0.0.1:8080/health 30 900 60"
    assert "watchdog" not in script([["--mlock"]])


def test_where_a_server_is_asked() -> None:
    assert served_at([["--host", "::"], ["--port", "1"]])["url"] == "http://[::1]:1"
    assert served_at([["--mlock"]]) == {
        "url": "http://127.0.0.1:8080",
        "address": "127.0.0.1",
        "port": "8080",
        "alias": "",
        "api_key_file": "",
    }
    assert served_at([["--host", "0.0.0.0"], ["--alias", "a"]])["address"] == "0.0.0.0"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"llama_server_port": "8090", "llama_server_mlock": "no", "llama_server_metrics": "yes"},
        {"llama_server_api_keys": ["a-key-of-sixteen"], "llama_server_allow_from": "10.0.0.0/8"},
        {
            "llama_server_extra": ["--seed", "-1"],
            "llama_server_allow_from": ["10.0.0.0/8"],
            "llama_server_jinja": False,
        },
    ],
)
def test_options_are_the_same_for_the_role_and_for_who_reads_the_inventory(
    tmp_path: Path, variables: dict[str, Any]
) -> None:
    (tmp_path / "hosts.yml").write_text(json.dumps({"pis": {"hosts": {"pi-01": variables}}}))
    fleet = Fleet(tmp_path / "hosts.yml")
    options = server_options(lambda name: fleet.variable("pi-01", name))
    assert options == fleet.variable("pi-01", "llama_server__options")
