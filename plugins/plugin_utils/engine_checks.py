"""What keeps an engine from being built or installed: in the variables, and on the hosts. All functions are pure."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.engine.build import JOB_MIB

# Free space in MiB: source, history, objects and programs; or programs alone.
BUILD_MIB = 2500
INSTALL_MIB = 300

# What Homebrew has; the rest of a Mac's tools is Apple's.
BREW_TOOLS = {"cmake", "ninja", "ccache"}


def request_problems(request: dict[str, Any], known_build_host: bool) -> list[str]:
    """Return what is wrong with the variables that a host asks for an engine with.

    request: `ik_llama_build_request`. known_build_host: whether the inventory has the host that is to compile.
    """
    problems = []
    if not re.match(r"[A-Za-z0-9][A-Za-z0-9._/+-]*$", request["version"]):
        problems.append(
            f"this can be no version (ik_llama_build_version = '{request['version']}'). Write the full SHA of a commit "
            "(40 hex digits), or the name of a branch or tag."
        )
    if not known_build_host:
        problems.append(
            f"no such host is in the inventory (ik_llama_build_builder = {request['build_host']}). Name a host that "
            "is, or localhost."
        )
    if not request["targets"]:
        problems.append(
            "no program is named (ik_llama_build_targets = []). Name at least one, llama-server for a board."
        )
    if request["cross"] and request["openblas"]:
        problems.append(
            "the build host has no OpenBLAS for ARM64 (ik_llama_build_openblas = true, ik_llama_build_strategy = "
            "cross). Switch it off (it does not help generation), or choose native."
        )
    return problems


def install_problems(keep: int, renamed: list[str]) -> list[str]:
    """Return what is wrong with the variables of the role `ik_llama_install`.

    renamed: the names of variables that are set, but have another name since version 0.2.
    """
    problems = [
        f"{name} is now ik_llama_install_{name.removeprefix('ik_llama_build_')}. Rename it in the inventory."
        for name in renamed
    ]
    if keep < 1:
        problems.append(f"at least one release is kept (ik_llama_install_keep = {keep}). Write 1 or more.")
    return problems


def build_problems(host: dict[str, Any], releases: list[dict[str, Any]]) -> list[str]:
    """Return what keeps a build host from building those releases that are not finished.

    host: what module `engine_release_info` returned of it. releases: those of `ik_llama_build_plan`.
    """
    unfinished = [release for release in releases if release["state"] != "finished"]
    problems = []
    for release in unfinished:
        if release["cross"] and host["system"] != "Linux":
            problems.append(
                f"this host is {host['system']} and cannot cross-compile. Set ik_llama_build_builder of "
                f"{', '.join(release['wanted_by'])} to a Debian host."
            )
        if release["busy"]:
            problems.append(
                f"another build is running in {release['root']} ({release['busy']}). Wait until it ends, and run again."
            )
        missing = release["tools_missing"]
        if missing and not host["apt"] and not (host["brew"] and BREW_TOOLS.issuperset(missing)):
            problems.append(
                f"{', '.join(missing)} missing, and the role cannot install that here. Install it (on macOS: "
                "xcode-select --install, and Homebrew from brew.sh) and run again."
            )
        if release["disk_free_mib"] < BUILD_MIB:
            problems.append(
                f"{BUILD_MIB} MiB required to build the engine, {release['disk_free_mib']} MiB free at "
                f"{release['root']} ({release['root_variable']}). Free some space, or change that variable of "
                f"{', '.join(release['wanted_by'])}."
            )
        if release["state"] != "making" and release["jobs"] < 1 and release["jobs_wanted"] < 1:
            problems.append(
                f"{JOB_MIB} MiB of free memory required for a compiler, {host['memory_mib']} MiB are available; a"
                " server may use the rest. Let another host compile (set ik_llama_build_strategy to cross or builder"
                f" for {', '.join(release['wanted_by'])}), or stop what uses the memory."
            )
    return list(dict.fromkeys(problems))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def host_problems(request: dict[str, Any], here: dict[str, Any], build_host: dict[str, Any]) -> list[str]:
    """Return what keeps a release from being installed on a host, or from running there.

    request: `ik_llama_build_request` of the host. here: what module `engine_release_info` returned on it.
    build_host: what it returned as `host` on the one that builds.
    """
    mine, (release,) = here["host"], here["releases"]
    name, strategy = request["build_host"], request["strategy"]
    target = "aarch64" if request["cross"] else build_host["architecture"]
    problems = []
    if mine["architecture"] != target:
        problems.append(
            f"this host is {mine['architecture']}, and {name} compiles for {target} (ik_llama_build_strategy = "
            f"{strategy}). Set ik_llama_build_strategy to native for this host."
        )
    libc = build_host["libc"]
    if release["state"] != "finished" and mine["libc"] and _version(libc) > _version(mine["libc"]):
        problems.append(
            f"the C library of this host is {mine['libc']}, that of {name} is {libc}, and programs that are built there"
            f" do not start here (ik_llama_build_strategy = {strategy}). Set ik_llama_build_strategy to native for this"
            " host, or compile on a host whose system is no newer (ik_llama_build_builder)."
        )
    if strategy == "builder" and request["native"] and mine["cpu"] != build_host["cpu"]:
        problems.append(
            f"the CPU of this host is {mine['cpu']}, that of {name} is {build_host['cpu']} (ik_llama_build_native = "
            "true). Set ik_llama_build_native to false and ik_llama_build_target_cpu to a CPU that both are, or choose "
            "a build host of the same kind (ik_llama_build_builder)."
        )
    if release["state"] != "finished" and release["disk_free_mib"] < INSTALL_MIB:
        problems.append(
            f"{INSTALL_MIB} MiB required to install the engine, {release['disk_free_mib']} MiB free at "
            f"{release['root']} (ik_llama_build_root). Free some space, or change that variable."
        )
    return problems
