"""llama-server's command line, and what speaks against it."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import hyperparameters
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.server.options import (
    OWN_FLAGS,
    answer_fault,
    answer_problem,
    complaint,
    is_loopback,
    listeners,
    run_script,
    served_at,
    server_arguments,
    server_problems,
    started_at,
    telling_lines,
)
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream
from naming import named, unnamed

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
BOARD = {"memory_mib": 8060}


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


def test_the_script_hands_every_word_over_as_it_is(tmp_path: Any) -> None:
    arguments = [["--alias", "a b"], ["--chat-template-kwargs", '{"x": "$HOME \'q\'"}']]
    text = run_script("/bin/echo", "/m 1.gguf", arguments, "abc")
    script = tmp_path / "run"
    script.write_text(text.replace("exec /bin/echo", "exec printf '%s\\n'"))
    lines = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == ["--model", "/m 1.gguf", *(word for flag in arguments for word in flag)]
    assert shlex.quote("a b") in text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "pi-01.local", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_listening_to_others_needs_a_key() -> None:
    options = {**OPTIONS, "host": "0.0.0.0"}
    (problem,) = server_problems(options, [], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_host", "0.0.0.0", "llama_server_api_keys") == []
    assert server_problems(options, ["a-key-of-sixteen"], BOARD, 1024, {}) == []


def test_networks_are_such_that_systemd_knows() -> None:
    open_ = {**OPTIONS, "host": "192.168.1.4", "allow_from": ["192.168.1.7/24", "fd00::/8", "link-local"]}
    assert server_problems(open_, ["a-key-of-sixteen"], BOARD, 1024, {}) == []
    (problem,) = server_problems({**open_, "allow_from": ["10.0.0.0/8,::1"]}, ["a-key-of-sixteen"], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_allow_from", "10.0.0.0/8,::1") == []
    assert not named(problem, "llama_server_host")
    (problem,) = server_problems({**open_, "host": "pi-01.local"}, ["a-key-of-sixteen"], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_host", "pi-01.local", "llama_server_allow_from") == []


@pytest.mark.parametrize("name", ["cache_type_k", "cache_type_v"])
def test_a_type_that_is_none_is_told_with_the_variable_s_name(name: str) -> None:
    plan = {"tensor_bytes": 1, "hparams": {}}  # whether it fits is not asked then
    (problem,) = server_problems({**OPTIONS, name: "q8"}, [], BOARD, 1024, plan)
    assert unnamed(problem, f"llama_server_{name}", "q8", "q8_0") == []


@pytest.mark.parametrize("name", ["threads", "threads_batch", "context", "parallel", "batch", "ubatch"])
def test_numbers_must_be_positive(name: str) -> None:
    (problem,) = server_problems({**OPTIONS, name: 0}, [], BOARD, 1024, {})
    assert unnamed(problem, f"llama_server_{name}", 0) == []


@pytest.mark.parametrize("word", ["--host", "--api-key", "--port=1", "-c"])
def test_what_a_variable_sets_is_refused_as_a_further_argument(word: str) -> None:
    (problem,) = server_problems({**OPTIONS, "extra": [word, "x"]}, [], BOARD, 1024, {})
    flag = word.partition("=")[0]
    assert unnamed(problem, "llama_server_extra", flag, OWN_FLAGS[flag]) == []


def test_a_port_that_is_taken_is_told_with_who_has_it() -> None:
    (problem,) = server_problems(OPTIONS, [], BOARD, 1024, {}, "nginx (process 7)")
    assert unnamed(problem, 8080, "llama_server_port", "nginx (process 7)") == []


@pytest.mark.parametrize("key", ["short", "has a blank in it and is long", "nön-ascii-and-long"])
def test_a_key_that_is_no_good_is_told_of_and_never_shown(key: str) -> None:
    (problem,) = server_problems(OPTIONS, ["a-good-key-of-length", key], BOARD, 1024, {})
    assert unnamed(problem, 2, "llama_server_api_keys") == []
    assert key not in problem


def test_where_a_server_is_asked() -> None:
    assert served_at([["--host", "::"], ["--port", "1"]])["url"] == "http://[::1]:1"
    assert served_at([["--mlock"]]) == {
        "url": "http://127.0.0.1:8080",
        "address": "127.0.0.1",
        "alias": "",
        "api_key_file": "",
    }
    assert served_at([["--host", "0.0.0.0"], ["--alias", "a"]])["address"] == "0.0.0.0"


def test_who_listens_is_read_from_the_kernel_s_table() -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: 0100007F:1F90 00000000:0000 {} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100\n"
    assert listeners(head + row.format("0A"), 8080) == {"socket:[4711]"}
    assert listeners(head + row.format("0A"), 8081) == set()
    assert listeners(head + row.format("01"), 8080) == set()  # a connection


def test_when_a_process_was_started() -> None:
    stat = "7 (a ) name) S 1 7 7 0 -1 4194560 1 0 0 0 3 1 0 0 20 0 1 0 250 1 2 3\n"
    assert started_at(stat, 100, 40.0, 1000.0) == 962.5
    with pytest.raises(ValueError):
        started_at("", 100, 40.0, 1000.0)


def test_it_is_the_start_and_not_the_first_look() -> None:
    begun = time.time()
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            time.sleep(0.2)
            stat = Path(f"/proc/{process.pid}/stat").read_text()
            boot = time.clock_gettime(time.CLOCK_BOOTTIME)
            assert abs(started_at(stat, os.sysconf("SC_CLK_TCK"), boot, time.time()) - begun) < 0.15
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("answer", "expect", "tokens", "cut_off", "fault", "names"),
    [
        ("The sky is blue.", "", 6, False, "", []),
        ("<think>\nThe user", "", 16, True, "", []),
        ("Hi", "", 1, True, "", []),
        ("Hi", "", 2, False, "short", [2]),
        ("The sky", "", 0, False, "", []),  # how many is not known
        (" \n\n ", "", 16, True, "blank", []),
        ("!!!! !!!!", "", 16, True, "repeated", []),
        ("It is Paris.", "Paris", 5, False, "", []),
        ("Paris", "Paris", 2, False, "", []),
        ("It is Rome.", "Paris", 5, False, "unexpected", ["Paris"]),
        ("!!!!", "Paris", 5, False, "unexpected", ["Paris"]),
    ],
)
def test_what_counts_as_an_answer(
    answer: str, expect: str, tokens: int, cut_off: bool, fault: str, names: list[Any]
) -> None:
    assert answer_fault(answer, expect, tokens, cut_off) == fault
    problem = answer_problem(answer, expect, tokens, cut_off)
    assert bool(problem) == bool(fault)
    assert unnamed(problem, *names) == []


def test_port_must_be_a_port() -> None:
    (problem,) = server_problems({**OPTIONS, "port": 70000}, [], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_port", 70000) == []


def test_a_model_that_does_not_fit_is_refused_with_the_numbers() -> None:
    plan = {
        "tensor_bytes": 12_218_867_968,
        "hparams": hyperparameters(read_header(stream(QWEN35_METADATA, qwen35_tensors()))),
    }
    (problem,) = server_problems(OPTIONS, [], BOARD, 1024, plan)
    parts = {
        "weights": 11653, "program": 105, "kv_cache": 320, "recurrent_state": 63, "compute": 73, "checkpoints": 251,
    }  # fmt: skip
    assert unnamed(problem, *(f"{name} {mib}" for name, mib in parts.items())) == []
    assert unnamed(problem, 12466, 7036, 8060, 1024, "llama_server_context", 16384) == []
    assert unnamed(problem, "llama_server_memory_reserve_mib") == []
    assert not named(problem, "llama_server_ctx_checkpoints")  # a smaller one would not do
    assert server_problems(OPTIONS, [], {"memory_mib": 16220}, 1024, plan) == []
    (problem,) = server_problems({**OPTIONS, "context": 262144}, [], {"memory_mib": 15818}, 1024, plan)
    assert unnamed(problem, "llama_server_context", 262144, 129792) == []


def test_the_log_without_health_checks() -> None:
    log = """first
INFO [launch_slot_with_task] slot is processing task
INFO [request] method="GET" path="/health"
INFO [update_slots] all slots are idle

second
INFO [process_single_task] slot data | n_idle_slots=1
"""
    assert telling_lines(log, 2) == ["INFO [launch_slot_with_task] slot is processing task", "second"]
    assert telling_lines("", 5) == []
