"""What an engine release is made of: CMake options, target CPU, tools, number of jobs."""

from __future__ import annotations

import re
from typing import IO, Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id

# The compiler's own name of the boards that can be cross-compiled for.
CROSS_PREFIX = "aarch64-linux-gnu-"

# The largest translation units (flash attention kernels) take this much, in MiB.
JOB_MIB = 1500


def architecture(machine: str) -> str:
    """Return aarch64 or x86_64 for what uname calls the machine, else its own word."""
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(machine.lower(), machine)


def cmake_value(value: Any) -> str:
    """Write a value the CMake way: true and false are ON and OFF."""
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return str(value)


def cmake_options(
    *,
    system: str,
    machine: str,
    cross: bool,
    native: bool,
    target_cpu: str,
    lto: bool,
    openblas: bool,
    extra: dict[str, Any],
) -> dict[str, str]:
    """Return the CMake options that decide what the release is; extra ones win.

    system and machine are the build host's (uname). cross compiles for aarch64 Linux
    and target_cpu. native means the very CPU of the build host. macOS has its own BLAS (Accelerate).
    """
    openblas = openblas and system != "Darwin"
    options = {
        "BUILD_SHARED_LIBS": "OFF",
        "CMAKE_BUILD_TYPE": "Release",
        "GGML_BLAS": cmake_value(openblas),
        "GGML_LTO": cmake_value(lto),
        "GGML_NATIVE": cmake_value(native and not cross),
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_CURL": "OFF",
    }
    if openblas:
        options["GGML_BLAS_VENDOR"] = "OpenBLAS"
    if cross:
        options["CMAKE_SYSTEM_NAME"] = "Linux"
        options["CMAKE_SYSTEM_PROCESSOR"] = "aarch64"
        options["CMAKE_C_COMPILER"] = f"{CROSS_PREFIX}gcc"
        options["CMAKE_CXX_COMPILER"] = f"{CROSS_PREFIX}g++"
    if system == "Darwin":
        options["GGML_METAL"] = "OFF"
    elif cross or architecture(machine) == "aarch64":
        # GGML_NATIVE adds nothing on ARM before July 2026, and without the dot product the
        # engine aborts. One explicit flag holds before and after.
        cpu = "native" if native and not cross else target_cpu
        options["GGML_NATIVE"] = "OFF"
        options["GGML_ARCH_FLAGS"] = f"-mcpu={cpu}"
    options.update({name: cmake_value(value) for name, value in extra.items()})
    return dict(sorted(options.items()))


def cpu_name(cpuinfo: str) -> str:
    """Name the CPU of a Linux host from /proc/cpuinfo; empty where it says nothing.

    x86 has a model name. ARM has numbers: implementer and part (0x41-0xd0b is the
    Cortex-A76); a big.LITTLE board has several parts, all of them count.
    """
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    if model:
        return model.group(1).strip()
    found = [set(re.findall(rf"^CPU {field}\s*:\s*(\w+)$", cpuinfo, re.MULTILINE)) for field in ("implementer", "part")]
    return "-".join("+".join(sorted(values)) for values in found if values)


def target_cpu_name(*, system: str, machine: str, cross: bool, native: bool, target_cpu: str, cpu: str) -> str:
    """Return what the release runs on, as the ID and release.json have it."""
    if native and not cross:
        return f"native {cpu or machine}"
    if cross or (system == "Linux" and architecture(machine) == "aarch64"):
        return target_cpu
    return architecture(machine)


def release_id(*, commit: str, options: dict[str, str], compiler: str, target_cpu: str, targets: list[str]) -> str:
    """Return the release's ID. The order of targets does not matter."""
    return content_id(
        {
            "commit": commit,
            "options": options,
            "compiler": compiler,
            "target_cpu": target_cpu,
            "targets": sorted(targets),
        }
    )


def objects_id(*, commit: str, options: dict[str, str], compiler: str, target_cpu: str) -> str:
    """Return the ID of the objects that a release is linked from: releases with other targets have the same ones."""
    return content_id({"commit": commit, "options": options, "compiler": compiler, "target_cpu": target_cpu})


def tools(*, system: str, cross: bool, ccache: bool) -> list[str]:
    """Return the programs that the build calls. objdump shows the dot product on Linux."""
    prefix = CROSS_PREFIX if cross else ""
    needed = ["git", "cmake", "ninja", f"{prefix}g++" if cross else "c++"]
    if system == "Linux":
        needed.append(f"{prefix}objdump")
    if ccache:
        needed.append("ccache")
    return needed


def jobs(cores: int, memory_mib: int) -> int:
    """Return how many compilers may run at once in that much free memory; 0 if there is too little for one."""
    return min(cores, memory_mib // JOB_MIB)


def is_commit(version: str) -> bool:
    """Tell whether a version is the full SHA of a commit, which needs no looking up."""
    return re.fullmatch(r"[0-9a-f]{40}", version) is not None


def resolve_ref(listing: str, name: str) -> str:
    """Return the commit that a tag or a branch names, empty where there is none of that name.

    listing is the output of `git ls-remote`, which gives an annotated tag twice: the tag itself, and
    with `^{}` the commit. A tag wins over a branch of the same name, as in git.
    """
    found = {ref: sha for sha, _tab, ref in (line.partition("\t") for line in listing.splitlines())}
    for ref in (f"refs/tags/{name}^{{}}", f"refs/tags/{name}", f"refs/heads/{name}"):
        if ref in found:
            return found[ref]
    return ""


#: Instructions that only some CPUs have, as objdump writes them, by the name that /proc/cpuinfo has for the ability
#: (several, where any of them will do).
FEATURE_MARKS: dict[str, dict[str, tuple[bytes, ...]]] = {
    "aarch64": {
        "asimddp": (b"\tsdot\t", b"\tudot\t"),
        "i8mm": (b"\tsmmla\t", b"\tummla\t", b"\tusmmla\t", b"\tusdot\t"),
        "bf16": (b"\tbfdot\t", b"\tbfmmla\t", b"\tbfmlalb\t"),
        "fphp": (b"\tfmul\th", b"\tfadd\th"),
        "sve": (b"\tptrue\t", b"\twhilelo\t"),
    },
    "x86_64": {
        "avx": (b"%ymm",),
        "avx2": (b"\tvinserti128 ", b"\tvpbroadcast", b"\tvpermq "),
        "avx512f": (b"%zmm",),
        "avx512_vnni|avx_vnni": (b"\tvpdpbusd ",),
        "f16c": (b"\tvcvtph2ps ",),
        "fma": (b"\tvfmadd",),
    },
}


def find_features(listing: IO[bytes], architecture: str) -> tuple[list[str], int]:
    """Return the CPU features that a program uses, and how many signed dot products (sdot) it has.

    listing is what `objdump -d --no-show-raw-insn` prints: hundreds of MB, so it is read in pieces.
    """
    missing = dict(FEATURE_MARKS.get(architecture, {}))
    found, dots, rest = [], 0, b""
    while piece := listing.read(1 << 20):
        block = rest + piece
        end = block.rfind(b"\n") + 1
        block, rest = block[:end], block[end:]
        dots += block.count(b"\tsdot\t")
        for name in [name for name, marks in missing.items() if any(mark in block for mark in marks)]:
            del missing[name]
            found.append(name)
    return sorted(found), dots


def lacking(needs: list[str], cpu_features: list[str]) -> list[str]:
    """Return those needed features that the CPU does not have; none where it does not tell what it has."""
    if not cpu_features:
        return []
    return [need for need in needs if not set(need.split("|")) & set(cpu_features)]


def unused_options(cmake_output: str) -> list[str]:
    """Return the options that CMake says no file of this commit reads."""
    found = re.search(
        r"Manually-specified variables were not used by the project:\s*\n((?:\s*\n|\s+\w+\s*\n)+)",
        cmake_output + "\n",
    )
    return sorted(found.group(1).split()) if found else []


def ignored_options(unused: list[str], options: dict[str, str]) -> list[str]:
    """Return those unused options that were wanted: what is off stays off without CMake."""
    return [name for name in unused if options.get(name, "OFF") != "OFF"]
