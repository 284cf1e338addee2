"""What speaks against a server's options."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import hyperparameters
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.server.arguments import OWN_FLAGS
from ansible_collections.ik_llama.pi.plugins.module_utils.server.checks import server_problems
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


def test_listening_to_others_needs_a_key() -> None:
    options = {**OPTIONS, "host": "0.0.0.0"}
    (problem,) = server_problems(options, [], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_host", "0.0.0.0", "llama_server_api_keys") == []
    assert server_problems(options, ["a-key-of-sixteen"], BOARD, 1024, {}) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "pi-01.local"])
def test_without_encryption_beyond_loopback_only_where_that_is_allowed(host: str) -> None:
    options = {**OPTIONS, "allow_plain_http": False}
    assert server_problems(options, [], BOARD, 1024, {}) == []
    (problem,) = server_problems({**options, "host": host}, ["a-key-of-sixteen"], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_host", host, "llama_server_allow_plain_http") == []
    assert (
        server_problems({**options, "host": host, "allow_plain_http": True}, ["a-key-of-sixteen"], BOARD, 1024, {})
        == []
    )


def test_networks_are_such_that_systemd_knows() -> None:
    open_ = {**OPTIONS, "host": "192.168.1.4", "allow_from": ["192.168.1.7/24", "fd00::/8", "link-local"]}
    assert server_problems(open_, ["a-key-of-sixteen"], BOARD, 1024, {}) == []
    (problem,) = server_problems({**open_, "allow_from": ["10.0.0.0/8,::1"]}, ["a-key-of-sixteen"], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_allow_from", "10.0.0.0/8,::1") == []
    assert not named(problem, "llama_server_host")
    (problem,) = server_problems({**open_, "host": "pi-01.local"}, ["a-key-of-sixteen"], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_host", "pi-01.local", "llama_server_allow_from") == []


@pytest.mark.parametrize("alias", ["", " ", "my model\n", "a\tb", "\x1b[31mred"])
def test_a_name_that_is_no_line(alias: str) -> None:
    (problem,) = server_problems({**OPTIONS, "alias": alias}, [], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_alias") == []
    assert server_problems({**OPTIONS, "alias": "Qwen3.5 35B"}, [], BOARD, 1024, {}) == []


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


@pytest.mark.parametrize("word", ["--ctx_size", "--ctx-size=1", "--api_key_file", "-c", "--model_url"])
def test_every_spelling_of_an_own_flag_is_found(word: str) -> None:
    (problem,) = server_problems({**OPTIONS, "extra": [word, "x"]}, [], BOARD, 1024, {})
    assert unnamed(problem, "llama_server_extra", word.partition("=")[0]) == []


@pytest.mark.parametrize("word", ["--no-mmap", "-fa", "--top_k"])
def test_other_flags_are_the_user_s(word: str) -> None:
    assert server_problems({**OPTIONS, "extra": [word]}, [], BOARD, 1024, {}) == []
