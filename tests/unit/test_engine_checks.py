from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.engine_checks import host_problems, request_problems
from naming import named, unnamed

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


def problems(here: dict[str, Any], made: dict[str, Any] | None = None, **how: Any) -> list[str]:
    return host_problems(here, here if made is None else made, **{**HOW, **how})


def test_nothing_speaks_against_a_board_that_compiles_for_itself() -> None:
    assert problems(look()) == []
    assert request_problems(REQUEST, "localhost", True, 2) == []


@pytest.mark.parametrize(
    ("changes", "known", "keep", "names"),
    [
        ({"version": "-x"}, True, 2, ["ik_llama_build_version", "-x"]),
        ({"version": ""}, True, 2, ["ik_llama_build_version"]),
        ({}, False, 2, ["ik_llama_build_builder", "nas"]),
        ({"targets": []}, True, 2, ["ik_llama_build_targets"]),
        ({"cross": True}, True, 2, ["ik_llama_build_openblas", "ik_llama_build_strategy"]),
        ({}, True, 0, ["ik_llama_build_keep", 0]),
    ],
)
def test_a_wrong_variable_is_named(changes: dict[str, Any], known: bool, keep: int, names: list[Any]) -> None:
    (problem,) = request_problems({**REQUEST, **changes}, "nas", known, keep)
    assert unnamed(problem, *names) == []


def test_a_release_must_be_for_the_boards_architecture() -> None:
    builder = look(architecture="x86_64", cpu="Xeon")
    assert problems(look(), builder, strategy="cross", own=False, maker="pc") == []
    (problem,) = problems(builder, look(), strategy="cross", own=False, maker="pc")
    assert unnamed(problem, "x86_64", "ik_llama_build_strategy", "cross", "pc", "aarch64", "native") == []
    (problem,) = problems(look(), builder, strategy="builder", native=False, own=False, maker="pc")
    assert unnamed(problem, "aarch64", "ik_llama_build_strategy", "builder", "pc", "x86_64") == []


def test_a_builder_of_another_cpu_must_not_compile_for_its_own() -> None:
    other = look(cpu="0x41-0xd40")
    (problem,) = problems(look(), other, strategy="builder", own=False, maker="pi-09")
    assert unnamed(problem, "0x41-0xd0b", "pi-09", "0x41-0xd40", "ik_llama_build_native") == []
    assert problems(look(), other, strategy="builder", native=False, own=False, maker="pi-09") == []


def test_a_mac_cannot_cross_compile() -> None:
    mac = look(system="Darwin", apt=False, brew=True)
    (problem,) = problems(look(), mac, strategy="cross", own=False, maker="mac")
    assert unnamed(problem, "mac", "Darwin", "ik_llama_build_builder") == []


def test_tools_must_be_there_or_come() -> None:
    bare = look(apt=False)
    bare["plan"]["tools_missing"] = ["cmake", "c++"]
    (problem,) = problems(bare)
    assert unnamed(problem, "pi-01", "cmake", "c++") == []
    assert problems({**bare, "state": "finished"}) == []
    mac = look(system="Darwin", apt=False, brew=True)
    mac["plan"]["tools_missing"] = ["cmake"]
    assert problems(mac) == []
    mac["plan"]["tools_missing"] = ["cmake", "c++"]
    (problem,) = problems(mac)
    assert unnamed(problem, "pi-01", "cmake", "c++", "xcode-select") == []


def test_room_is_needed_only_where_something_is_put() -> None:
    full = look(disk_free_mib=299)
    make, take = problems(full)
    assert unnamed(make, "/opt/ik_llama", 299, 2500, "ik_llama_build_root") == []
    assert unnamed(take, "/opt/ik_llama", 299, 300, "ik_llama_build_root") == []
    assert problems(look("finished", disk_free_mib=0)) == []
    (problem,) = problems(look("finished"), look(disk_free_mib=2499), own=False)
    assert unnamed(problem, 2499, 2500, "ik_llama_build_builder_root") == []
    assert not named(problem, "ik_llama_build_root")


def test_a_busy_host_is_waited_for() -> None:
    busy = {**look(), "busy": "engine 0123, since noon, pid 7"}
    (problem,) = problems(busy)
    assert unnamed(problem, "pi-01", "/opt/ik_llama", busy["busy"]) == []
    assert problems({**busy, "state": "finished"}) == []
