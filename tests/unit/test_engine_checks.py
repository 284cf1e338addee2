from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.engine_checks import host_problems, request_problems

REQUEST = {"version": "main", "targets": ["llama-server"], "cross": False, "openblas": True}
HOW: dict[str, Any] = {"strategy": "native", "native": True, "own": True, "maker": "pi-01"}


def look(state: str = "absent", **host: Any) -> dict[str, Any]:
    """What module engine_release returns of a Debian board."""
    return {
        "root": "/opt/ik_llama",
        "state": state,
        "busy": "",
        "plan": {"tools_missing": []},
        "host": {
            "system": "Linux",
            "architecture": "aarch64",
            "cpu": "0x41-0xd0b",
            "disk_free_mib": 9000,
            "apt": True,
            "brew": False,
            **host,
        },
    }


def problems(here: dict[str, Any], made: dict[str, Any] | None = None, **how: Any) -> str:
    return " ".join(host_problems(here, here if made is None else made, **{**HOW, **how}))


def test_nothing_speaks_against_a_board_that_compiles_for_itself() -> None:
    assert problems(look()) == ""
    assert request_problems(REQUEST, "localhost", True, 2) == []


@pytest.mark.parametrize(
    ("changes", "known", "keep", "variable"),
    [
        ({"version": "-x"}, True, 2, "ik_llama_build_version"),
        ({"version": ""}, True, 2, "ik_llama_build_version"),
        ({}, False, 2, "ik_llama_build_builder is 'nas'"),
        ({"targets": []}, True, 2, "ik_llama_build_targets"),
        ({"cross": True}, True, 2, "ik_llama_build_openblas"),
        ({}, True, 0, "ik_llama_build_keep is 0"),
    ],
)
def test_a_wrong_variable_is_named(changes: dict[str, Any], known: bool, keep: int, variable: str) -> None:
    (problem,) = request_problems({**REQUEST, **changes}, "nas", known, keep)
    assert variable in problem


def test_a_release_must_be_for_the_boards_architecture() -> None:
    builder = look(architecture="x86_64", cpu="Xeon")
    assert problems(look(), builder, strategy="cross", own=False, maker="pc") == ""
    assert "Set ik_llama_build_strategy to native" in problems(builder, look(), strategy="cross", own=False, maker="pc")
    said = problems(look(), builder, strategy="builder", native=False, own=False, maker="pc")
    assert "this host is aarch64" in said and "pc compiles for x86_64" in said


def test_a_builder_of_another_cpu_must_not_compile_for_its_own() -> None:
    other = look(cpu="0x41-0xd40")
    said = problems(look(), other, strategy="builder", own=False, maker="pi-09")
    assert "its CPU is 0x41-0xd0b, that of the builder pi-09 is 0x41-0xd40" in said
    assert problems(look(), other, strategy="builder", native=False, own=False, maker="pi-09") == ""


def test_a_mac_cannot_cross_compile() -> None:
    mac = look(system="Darwin", apt=False, brew=True)
    assert "is Darwin and cannot cross-compile" in problems(look(), mac, strategy="cross", own=False, maker="mac")


def test_tools_must_be_there_or_come() -> None:
    bare = look(apt=False)
    bare["plan"]["tools_missing"] = ["cmake", "c++"]
    assert "pi-01 lacks cmake, c++" in problems(bare)
    assert problems({**bare, "state": "finished"}) == ""
    mac = look(system="Darwin", apt=False, brew=True)
    mac["plan"]["tools_missing"] = ["cmake"]
    assert problems(mac) == ""
    mac["plan"]["tools_missing"] = ["cmake", "c++"]
    assert "xcode-select" in problems(mac)


def test_room_is_needed_only_where_something_is_put() -> None:
    full = look(disk_free_mib=299)
    assert "ik_llama_build_root elsewhere" in problems(full)
    assert "compiling takes 2500" in problems(full)
    assert "the release takes 300" in problems(full)
    assert problems(look("finished", disk_free_mib=0)) == ""
    said = problems(look("finished"), look(disk_free_mib=2499), own=False)
    assert "ik_llama_build_builder_root elsewhere" in said


def test_a_busy_host_is_waited_for() -> None:
    busy = {**look(), "busy": "engine 0123, since noon, pid 7"}
    assert "makes something else in /opt/ik_llama just now: engine 0123" in problems(busy)
    assert problems({**busy, "state": "finished"}) == ""
