"""What speaks against making an engine release: in the variables, and on the hosts. All functions are pure."""

from __future__ import annotations

import re
from typing import Any

# Free room in MiB: source, history, objects and programs; or programs alone.
MAKE_MIB = 2500
TAKE_MIB = 300

# What Homebrew has; the rest of a Mac's tools is Apple's.
BREW_TOOLS = {"cmake", "ninja", "ccache"}


def request_problems(request: dict[str, Any], builder: str, known_builder: bool, keep: int) -> list[str]:
    """What is wrong with the variables of the role `ik_llama_build`, in words.

    request: `ik_llama_build__request`. known_builder: whether the inventory has the host that is to compile.
    """
    problems = []
    if not re.match(r"[A-Za-z0-9][A-Za-z0-9._/+-]*$", request["version"]):
        problems.append(
            f"ik_llama_build_version is '{request['version']}'; write the full SHA of a commit (40 hex digits), or the "
            "name of a branch or tag."
        )
    if not known_builder:
        problems.append(
            f"ik_llama_build_builder is '{builder}', and no such host is in the inventory. Name a host that is, "
            "or localhost."
        )
    if not request["targets"]:
        problems.append("ik_llama_build_targets is empty; name at least one program, llama-server for a board.")
    if request["cross"] and request["openblas"]:
        problems.append(
            "ik_llama_build_openblas is on with ik_llama_build_strategy cross, and the builder has no OpenBLAS for "
            "ARM64. Switch it off (it helps no generation), or compile native."
        )
    if keep < 1:
        problems.append(f"ik_llama_build_keep is {keep}; at least one release stays.")
    return problems


def host_problems(
    here: dict[str, Any], made: dict[str, Any], *, strategy: str, native: bool, own: bool, maker: str
) -> list[str]:
    """What keeps a release from being made, or from running where it is to run, in words.

    here, made: what module `engine_release` returned on the host that is to use the release, and on `maker`, which
    compiles it; the same where `own`. strategy, native: `ik_llama_build_strategy` and `ik_llama_build_native`.
    """
    mine, theirs = here["host"], made["host"]
    cross = strategy == "cross"
    target = "aarch64" if cross else theirs["architecture"]
    problems = []
    if mine["architecture"] != target:
        problems.append(
            f"this host is {mine['architecture']}, with ik_llama_build_strategy {strategy} {maker} compiles for "
            f"{target}. Set ik_llama_build_strategy to native for this host."
        )
    if strategy == "builder" and native and mine["cpu"] != theirs["cpu"]:
        problems.append(
            f"its CPU is {mine['cpu']}, that of the builder {maker} is {theirs['cpu']}. Set ik_llama_build_native to "
            "false and ik_llama_build_target_cpu to a CPU that both are, or choose a builder of this kind."
        )
    if cross and theirs["system"] != "Linux":
        problems.append(
            f"{maker} is {theirs['system']} and cannot cross-compile; set ik_llama_build_builder to a Debian host."
        )
    if made["state"] != "finished":
        problems += [f"{maker} {obstacle}" for obstacle in making_problems(made, own)]
    if here["state"] != "finished" and mine["disk_free_mib"] < TAKE_MIB:
        problems.append(
            f"{mine['disk_free_mib']} MiB are free at {here['root']}, the release takes {TAKE_MIB}. Make room, or "
            "point ik_llama_build_root elsewhere."
        )
    return problems


def making_problems(made: dict[str, Any], own: bool) -> list[str]:
    """What keeps the compiling host from making the release, each as what it does, lacks or has."""
    host, missing = made["host"], made["plan"]["tools_missing"]
    problems = []
    if made["busy"]:
        problems.append(
            f"makes something else in {made['root']} just now: {made['busy']}. Wait until it ends, and run again."
        )
    if missing and not host["apt"] and not (host["brew"] and BREW_TOOLS.issuperset(missing)):
        problems.append(
            f"lacks {', '.join(missing)}, and the role cannot install that there. Install it (on macOS: xcode-select "
            "--install, and Homebrew from brew.sh) and run again."
        )
    if host["disk_free_mib"] < MAKE_MIB:
        variable = "ik_llama_build_root" if own else "ik_llama_build_builder_root"
        problems.append(
            f"has {host['disk_free_mib']} MiB free at {made['root']}, compiling takes {MAKE_MIB}. Make room, or point "
            f"{variable} elsewhere."
        )
    return problems
