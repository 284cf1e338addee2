from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.engine_checks import (
    build_problems,
    host_problems,
    install_problems,
    request_problems,
)
from naming import named, unnamed

REQUEST: dict[str, Any] = {
    "build_host": "pi-01",
    "version": "main",
    "targets": ["llama-server"],
    "strategy": "native",
    "native": True,
    "cross": False,
    "openblas": True,
}
BOARD = {
    "system": "Linux",
    "architecture": "aarch64",
    "cpu": "0x41-0xd0b",
    "apt": True,
    "brew": False,
    "memory_mib": 800,
    "libc": "2.41",
}
MAC = {**BOARD, "system": "Darwin", "apt": False, "brew": True}
RELEASE: dict[str, Any] = {
    "root": "/opt/ik_llama",
    "root_variable": "ik_llama_build_root",
    "state": "absent",
    "busy": "",
    "tools_missing": [],
    "cross": False,
    "disk_free_mib": 9000,
    "jobs": 2,
    "jobs_wanted": 0,
    "wanted_by": ["pi-01", "pi-02"],
}


def build(host: dict[str, Any] | None = None, **release: Any) -> list[str]:
    """Return what keeps a Debian board from building."""
    return build_problems(BOARD if host is None else host, [{**RELEASE, **release}])


def install(
    mine: dict[str, Any], theirs: dict[str, Any], *, state: str = "absent", free: int = 9000, **request: Any
) -> list[str]:
    """Return what keeps a host from installing what another one built."""
    release = {"state": state, "root": "/opt/ik_llama", "disk_free_mib": free}
    return host_problems({**REQUEST, **request}, {"host": mine, "releases": [release]}, theirs)


def test_nothing_speaks_against_a_board_that_compiles_for_itself() -> None:
    assert build() == []
    assert install(BOARD, BOARD) == []
    assert request_problems(REQUEST, True) == []
    assert install_problems(2, []) == []


@pytest.mark.parametrize(
    ("changes", "known", "names"),
    [
        ({"version": "-x"}, True, ["ik_llama_build_version", "-x"]),
        ({"version": ""}, True, ["ik_llama_build_version"]),
        ({"build_host": "nas"}, False, ["ik_llama_build_builder", "nas"]),
        ({"targets": []}, True, ["ik_llama_build_targets"]),
        ({"cross": True}, True, ["ik_llama_build_openblas", "ik_llama_build_strategy"]),
    ],
)
def test_a_wrong_variable_is_named(changes: dict[str, Any], known: bool, names: list[Any]) -> None:
    (problem,) = request_problems({**REQUEST, **changes}, known)
    assert unnamed(problem, *names) == []


def test_wrong_variables_of_the_installation_are_named() -> None:
    (problem,) = install_problems(0, [])
    assert unnamed(problem, "ik_llama_install_keep", 0) == []
    (problem,) = install_problems(2, ["ik_llama_build_keep"])
    assert unnamed(problem, "ik_llama_build_keep", "ik_llama_install_keep") == []


def test_a_release_must_be_for_the_boards_architecture() -> None:
    other = {**BOARD, "architecture": "x86_64", "cpu": "Xeon"}
    cross: dict[str, Any] = {"strategy": "cross", "cross": True, "build_host": "pc"}
    assert install(BOARD, other, **cross) == []
    (problem,) = install(other, BOARD, **cross)
    assert unnamed(problem, "x86_64", "ik_llama_build_strategy", "cross", "pc", "aarch64", "native") == []
    (problem,) = install(BOARD, other, strategy="builder", native=False, build_host="pc")
    assert unnamed(problem, "aarch64", "ik_llama_build_strategy", "builder", "pc", "x86_64") == []


def test_a_build_host_of_another_cpu_must_not_compile_for_its_own() -> None:
    other = {**BOARD, "cpu": "0x41-0xd40"}
    (problem,) = install(BOARD, other, strategy="builder", build_host="pi-09")
    assert unnamed(problem, "0x41-0xd0b", "pi-09", "0x41-0xd40", "ik_llama_build_native") == []
    assert install(BOARD, other, strategy="builder", native=False, build_host="pi-09") == []


def test_a_mac_cannot_cross_compile() -> None:
    (problem,) = build(MAC, cross=True)
    assert unnamed(problem, "Darwin", "ik_llama_build_builder", "pi-01", "pi-02") == []
    assert build(MAC, cross=True, state="finished") == []


def test_tools_must_be_there_or_come() -> None:
    bare = {**BOARD, "apt": False}
    missing = ["cmake", "c++"]
    (problem,) = build(bare, tools_missing=missing)
    assert unnamed(problem, "cmake", "c++") == []
    assert build(bare, tools_missing=missing, state="finished") == []
    assert build(MAC, tools_missing=["cmake"]) == []
    (problem,) = build(MAC, tools_missing=missing)
    assert unnamed(problem, "cmake", "c++", "xcode-select") == []


def test_room_is_needed_only_where_something_is_put() -> None:
    (problem,) = build(disk_free_mib=299)
    assert unnamed(problem, "/opt/ik_llama", 299, 2500, "ik_llama_build_root") == []
    (problem,) = install(BOARD, BOARD, free=299)
    assert unnamed(problem, "/opt/ik_llama", 299, 300, "ik_llama_build_root") == []
    assert build(disk_free_mib=0, state="finished") == []
    assert install(BOARD, BOARD, free=0, state="finished") == []
    (problem,) = build(disk_free_mib=2499, root_variable="ik_llama_build_builder_root")
    assert unnamed(problem, 2499, 2500, "ik_llama_build_builder_root", "pi-01", "pi-02") == []
    assert not named(problem, "ik_llama_build_root")


def test_a_busy_host_is_waited_for() -> None:
    busy = "engine 0123, since noon, pid 7"
    (problem,) = build(busy=busy)
    assert unnamed(problem, "/opt/ik_llama", busy) == []
    assert build(busy=busy, state="finished") == []


def test_what_two_releases_have_in_common_is_reported_once() -> None:
    assert len(build_problems(BOARD, [{**RELEASE, "busy": "a job"}, {**RELEASE, "busy": "a job"}])) == 1


def test_a_compiler_needs_free_memory() -> None:
    (problem,) = build(jobs=0)
    assert unnamed(problem, 800, "ik_llama_build_strategy", "cross", "builder", "pi-01", "pi-02") == []
    assert build(jobs=0, jobs_wanted=1) == build(jobs=0, state="making") == build(jobs=0, state="finished") == []


@pytest.mark.parametrize(
    ("mine", "theirs", "right"), [("2.36", "2.41", False), ("2.41", "2.36", True), ("", "2.41", True)]
)
def test_programs_do_not_start_with_an_older_c_library(mine: str, theirs: str, right: bool) -> None:
    problems = install({**BOARD, "libc": mine}, {**BOARD, "libc": theirs})
    assert (problems == []) == right
    assert right or unnamed(problems[0], mine, theirs, "ik_llama_build_strategy", "native") == []
    assert install({**BOARD, "libc": mine}, {**BOARD, "libc": theirs}, state="finished") == []
