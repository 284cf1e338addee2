from __future__ import annotations

import io
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import build as engine

HOW = {
    "system": "Linux",
    "machine": "x86_64",
    "cross": False,
    "native": True,
    "target_cpu": "cortex-a76",
    "lto": False,
    "openblas": False,
    "extra": {},
}

A76 = """processor\t: 0
BogoMIPS\t: 108.00
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd0b
"""


def options(**changes: Any) -> dict[str, str]:
    return engine.cmake_options(**{**HOW, **changes})


def target(**changes: Any) -> str:
    how = {name: HOW[name] for name in ("system", "machine", "cross", "native", "target_cpu")}
    return engine.target_cpu_name(**{**how, "cpu": "", **changes})


def test_x86_host_compiles_for_itself() -> None:
    made = options()
    assert made["GGML_NATIVE"] == "ON"
    assert made["BUILD_SHARED_LIBS"] == "OFF"
    assert "GGML_ARCH_FLAGS" not in made
    assert "CMAKE_SYSTEM_NAME" not in made
    assert "GGML_METAL" not in made


def test_arm_needs_its_cpu_as_an_explicit_flag() -> None:
    assert options(machine="aarch64")["GGML_ARCH_FLAGS"] == "-mcpu=native"
    assert options(machine="aarch64", native=False)["GGML_ARCH_FLAGS"] == "-mcpu=cortex-a76"
    assert options(machine="aarch64")["GGML_NATIVE"] == "OFF"


def test_cross_is_never_native() -> None:
    made = options(cross=True)
    assert made["GGML_NATIVE"] == "OFF"
    assert made["GGML_ARCH_FLAGS"] == "-mcpu=cortex-a76"
    assert made["CMAKE_SYSTEM_PROCESSOR"] == "aarch64"
    assert made["CMAKE_CXX_COMPILER"] == "aarch64-linux-gnu-g++"


def test_mac_compiles_without_metal_and_without_gcc_flags() -> None:
    made = options(system="Darwin", machine="arm64")
    assert made["GGML_METAL"] == "OFF"
    assert "GGML_ARCH_FLAGS" not in made
    assert engine.tools(system="Darwin", cross=False, ccache=False) == [
        "git",
        "cmake",
        "ninja",
        "c++",
    ]


def test_openblas_names_its_vendor() -> None:
    assert options(openblas=True)["GGML_BLAS"] == "ON"
    assert options(openblas=True)["GGML_BLAS_VENDOR"] == "OpenBLAS"
    assert options()["GGML_BLAS"] == "OFF"


def test_extra_options_win() -> None:
    made = options(extra={"GGML_NATIVE": False, "GGML_CUDA_MMV_Y": 2, "A": "b"})
    assert (made["GGML_NATIVE"], made["GGML_CUDA_MMV_Y"], made["A"]) == ("OFF", "2", "b")
    assert list(made) == sorted(made)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("model name\t: Some CPU @ 2.0GHz\nflags\t: a b\nmodel name\t: Some CPU @ 2.0GHz\n", "Some CPU @ 2.0GHz"),
        (A76 * 4, "0x41-0xd0b"),
        (A76 + A76.replace("0xd0b", "0xd05"), "0x41-0xd05+0xd0b"),
        ("", ""),
    ],
)  # fmt: skip
def test_cpu_name(cpuinfo: str, name: str) -> None:
    assert engine.cpu_name(cpuinfo) == name


def test_target_cpu_says_what_the_release_runs_on() -> None:
    assert target(cpu="0x41-0xd0b", machine="aarch64") == "native 0x41-0xd0b"
    assert target(cross=True) == "cortex-a76"
    assert target(native=False, machine="aarch64") == "cortex-a76"
    assert target(native=False, machine="amd64") == "x86_64"
    assert target() == "native x86_64"


def test_id_follows_all_that_makes_the_release() -> None:
    of: dict[str, Any] = {
        "commit": "a" * 40,
        "options": {"A": "ON"},
        "compiler": "c++ 12",
        "target_cpu": "cortex-a76",
        "targets": ["llama-server", "llama-bench"],
    }
    # Releases of version 0.1 keep their IDs: boards that have one need no other.
    assert engine.release_id(**of) == "6428701e0fcd"
    assert engine.release_id(**{**of, "targets": ["llama-bench", "llama-server"]}) == engine.release_id(**of)
    for changed in (
        {"commit": "b" * 40},
        {"options": {"A": "OFF"}},
        {"compiler": "c++ 14"},
        {"target_cpu": "cortex-a72"},
        {"targets": ["llama-server"]},
    ):
        assert engine.release_id(**{**of, **changed}) != engine.release_id(**of)


def test_objects_are_the_same_whatever_is_linked_from_them() -> None:
    of = {"commit": "a" * 40, "compiler": "c++ 12", "target_cpu": "cortex-a76"}
    objects = engine.objects_id(**of, options={"A": "ON"})
    assert objects == engine.objects_id(**of, options={"A": "ON"})
    assert objects != engine.objects_id(**of, options={"A": "OFF"})
    assert objects != engine.release_id(**of, options={"A": "ON"}, targets=[])


@pytest.mark.parametrize(
    ("cores", "memory_mib", "expected"),
    [(4, 16200, 4), (4, 8060, 4), (4, 3800, 2), (4, 900, 0), (64, 32000, 21)],
)
def test_memory_limits_the_jobs(cores: int, memory_mib: int, expected: int) -> None:
    assert engine.jobs(cores, memory_mib) == expected


# What CMake 3.25 writes.
UNUSED = """-- Generating done
CMake Warning:
  Manually-specified variables were not used by the project:

    GGML_BLAS
    GGML_NEW_THING
    LLAMA_CURL


-- Build files have been written to: /x
"""


def test_cmake_says_which_options_are_unknown() -> None:
    unused = engine.unused_options(UNUSED)
    assert unused == ["GGML_BLAS", "GGML_NEW_THING", "LLAMA_CURL"]
    wanted = {"GGML_BLAS": "OFF", "GGML_NEW_THING": "7", "LLAMA_CURL": "OFF"}
    assert engine.ignored_options(unused, wanted) == ["GGML_NEW_THING"]
    assert engine.unused_options("-- Generating done\n-- Build files\n") == []
    assert engine.unused_options(UNUSED[: UNUSED.index("\n\n-- Build")]) == unused


def test_cross_needs_the_cross_tools() -> None:
    assert engine.tools(system="Linux", cross=True, ccache=True) == [
        "git",
        "cmake",
        "ninja",
        "aarch64-linux-gnu-g++",
        "aarch64-linux-gnu-objdump",
        "ccache",
    ]


LISTING = "aaa\trefs/heads/main\nbbb\trefs/tags/v1\nccc\trefs/tags/v1^{}\nddd\trefs/tags/main\neee\trefs/heads/x/main\n"


@pytest.mark.parametrize(("name", "commit"), [("main", "ddd"), ("v1", "ccc"), ("x/main", "eee"), ("x", "")])
def test_names_are_resolved_as_git_does(name: str, commit: str) -> None:
    assert engine.resolve_ref(LISTING, name) == commit


def test_only_a_full_sha_is_a_commit() -> None:
    assert engine.is_commit("0" * 40)
    assert not engine.is_commit("0" * 39)
    assert not engine.is_commit("0" * 40 + "\n")
    assert not engine.is_commit("main")


def test_features_are_found_across_the_edges_of_what_is_read() -> None:
    line = b"  4:\tsdot\tv0.4s, v1.16b, v2.16b\n"
    listing = line * 50_000 + b"  8:\tsmmla\tv0.4s, v1.16b, v2.16b"
    assert len(listing) > 1 << 20
    assert engine.find_features(io.BytesIO(listing + b"\n"), "aarch64") == (["asimddp", "i8mm"], 50_000)
    assert engine.find_features(io.BytesIO(b" 1:\tvpdpbusd (%rax),%ymm1,%ymm2\n"), "x86_64") == (
        ["avx", "avx512_vnni|avx_vnni"],
        0,
    )


def test_a_cpu_lacks_what_none_of_its_features_gives() -> None:
    needs = ["asimddp", "avx512_vnni|avx_vnni"]
    assert engine.lacking(needs, ["avx_vnni", "fp"]) == ["asimddp"]
    assert engine.lacking(needs, []) == []
