#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Read which engine releases a host has, and what it has to build others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine_release_info
short_description: State of engine releases on a host, and what the host has to build them
version_added: "0.2.0"
description:
  - Names the release that follows from each request, and reads whether it is there. One call answers all that the roles
    ask of a host before they decide whether to build or to install.
  - A host that only installs a release asks by its ID, without the other options.
  - Changes nothing. The name of a branch or tag is looked up in its repository.
options:
  wanted:
    description: The releases to look for.
    type: list
    elements: dict
    required: true
    suboptions:
      root: {description: Folder with C(releases/) and the pointer C(current)., type: path, required: true}
      id: {description: ID of a release that another host builds., type: str}
      pointer:
        description: The pointer whose target is returned as C(current).
        type: str
        choices: [current, bench, evaluate]
        default: current
      repository: {description: Where names of branches and tags are looked up., type: str}
      version: {description: "Full SHA, or name of a branch or tag.", type: str}
      targets: {description: Programs., type: list, elements: str}
      cross: {description: Compile for ARM64 Linux., type: bool}
      native: {description: Compile for the very CPU of this host., type: bool}
      target_cpu: {description: CPU to compile for otherwise., type: str}
      lto: {description: Link-time optimization., type: bool}
      openblas: {description: Use OpenBLAS., type: bool}
      cmake_options: {description: Further CMake options., type: dict}
      ccache: {description: Whether ccache is to be used., type: bool}
attributes:
  check_mode:
    support: full
    description: Reads only.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Look for a release
  ik_llama.pi.engine_release_info:
    wanted:
      - root: /opt/ik_llama
        id: 0123456789ab
"""

RETURN = r"""
host:
  description: >-
    system, architecture, cpu, cpu_features, cores, memory_mib (available now), libc (version of the GNU C library),
    apt, brew, root (whether it is the user).
  type: dict
  returned: always
releases:
  description: One for each of I(wanted), in the same order.
  type: list
  elements: dict
  returned: always
  contains:
    root: {description: The folder as an absolute path., type: str}
    id:
      description: >-
        ID of the release. Empty as long as the compiler is missing, or git where a name must be looked up.
      type: str
    state: {description: "absent, making (a compiler runs), damaged or finished.", type: str}
    damage: {description: What is wrong with a damaged release., type: str}
    release: {description: The manifest of a finished release., type: dict}
    current: {description: ID of the release that the pointer names; empty where there is no pointer., type: str}
    disk_free_mib: {description: Free space in the root., type: int}
    commit: {description: The commit that the version names., type: str}
    options: {description: CMake options., type: dict}
    compiler: {description: First line of the compiler's version., type: str}
    target_cpu: {description: CPU that it is compiled for., type: str}
    objects: {description: ID of the object files that the release is linked from., type: str}
    jobs: {description: How many compilers may run at once., type: int}
    tools_missing: {description: Programs that are needed to build it and missing., type: list, elements: str}
    busy: {description: "What else is being built in this root; empty where nothing is.", type: str}
"""

import os
import platform
import re
import shutil
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import cpu_features
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import free_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json, read_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import build as engine
from ansible_collections.ik_llama.pi.plugins.module_utils.engine.releases import POINTERS, inspect, pointed

WANTED = {
    "root": {"type": "path", "required": True},
    "id": {"type": "str"},
    "pointer": {"type": "str", "choices": list(POINTERS), "default": "current"},
    "repository": {"type": "str"},
    "version": {"type": "str"},
    "targets": {"type": "list", "elements": "str"},
    "cross": {"type": "bool"},
    "native": {"type": "bool"},
    "target_cpu": {"type": "str"},
    "lto": {"type": "bool"},
    "openblas": {"type": "bool"},
    "cmake_options": {"type": "dict"},
    "ccache": {"type": "bool"},
}
#: What must be known of a release that this host builds.
NEEDED = sorted(WANTED.keys() - {"root", "id", "pointer", "version", "cmake_options"})


def git_environment(repository: str) -> dict[str, str]:
    """Return what lets git read a local repository of another user, and keeps it from asking for a password."""
    return {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": repository,
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": f"{repository}/.git",
        "GIT_TERMINAL_PROMPT": "0",
    }


def commit_of(module: AnsibleModule, repository: str, version: str) -> str:
    """Return the commit that the version names; only a name is looked up. Empty where git is missing."""
    if engine.is_commit(version):
        return version
    if not shutil.which("git"):
        return ""
    refs = [f"refs/heads/{version}", f"refs/tags/{version}", f"refs/tags/{version}^{{}}"]
    code, out, err = module.run_command(
        ["git", "ls-remote", "--", repository, *refs], environ_update=git_environment(repository)
    )
    if code:
        module.fail_json(
            msg=f"cannot look up the version (ik_llama_build_version = {version}) in its repository "
            f"(ik_llama_build_repository = {repository}): {err.strip()[-300:]}. Correct the variable that is wrong, or "
            "write the full SHA of a commit that was fetched before."
        )
    commit = engine.resolve_ref(out, version)
    if not commit:
        module.fail_json(
            msg=f"there is no branch or tag of that name (ik_llama_build_version = {version}) in "
            f"{repository} (ik_llama_build_repository). Write one that it has, or the full SHA of a commit "
            "(40 hex digits)."
        )
    return commit


def memory_mib() -> int:
    """Return the MiB that programs may still take; where the system does not say so, all that there is."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", read_text("/proc/meminfo"), re.M)
    if found:
        return int(found[1]) >> 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def libc_version() -> str:
    """Return the version of the GNU C library, like 2.41; empty with another one."""
    try:
        name, _separator, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, ValueError):
        return ""
    return version if name == "glibc" else ""


def host_facts(module: AnsibleModule) -> dict[str, Any]:
    """Return what this host is."""
    uname = os.uname()
    cpuinfo = read_text("/proc/cpuinfo")
    cpu = engine.cpu_name(cpuinfo)
    if uname.sysname == "Darwin":
        cpu = module.run_command(["sysctl", "-n", "machdep.cpu.brand_string"])[1].strip()
    return {
        "system": uname.sysname,
        "architecture": engine.architecture(uname.machine),
        "cpu": cpu or platform.processor(),
        "cpu_features": cpu_features(cpuinfo),
        "cores": os.cpu_count() or 1,
        "memory_mib": memory_mib(),
        "libc": libc_version(),
        "apt": shutil.which("apt-get") is not None,
        "brew": shutil.which("brew") is not None,
        "root": os.geteuid() == 0,
    }


def derive(module: AnsibleModule, wanted: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """Return what a release is made from on this host, and its ID."""
    how = {"system": host["system"], "machine": os.uname().machine}
    how |= {name: wanted[name] for name in ("cross", "native", "target_cpu")}
    options = engine.cmake_options(
        **how, lto=wanted["lto"], openblas=wanted["openblas"], extra=wanted["cmake_options"] or {}
    )
    compiler_path = shutil.which(options.get("CMAKE_CXX_COMPILER", "c++"))
    compiler = ""
    if compiler_path:
        version = module.run_command([compiler_path, "--version"])[1]
        compiler = version.splitlines()[0].strip() if version.strip() else ""
    commit = commit_of(module, wanted["repository"], wanted["version"])
    made_from: dict[str, Any] = {
        "commit": commit,
        "options": options,
        "compiler": compiler,
        "target_cpu": engine.target_cpu_name(**how, cpu=host["cpu"]),
    }
    known = bool(compiler and commit)
    return {
        **made_from,
        "id": engine.release_id(**made_from, targets=wanted["targets"]) if known else "",
        "objects": engine.objects_id(**made_from) if known else "",
        "jobs": engine.jobs(host["cores"], host["memory_mib"]),
        # A Mac without the command line tools has a c++ and a git that only ask for them.
        "tools_missing": [
            name
            for name in engine.tools(system=host["system"], cross=wanted["cross"], ccache=wanted["ccache"])
            if not shutil.which(name) or (shutil.which(name) == compiler_path and not compiler)
        ],
    }


def running_job(root: str) -> tuple[dict[str, Any], str]:
    """Return the job that runs in a root, and what it is in words; empty where none does."""
    directory = os.path.join(root, "build", "job")
    if not locked(directory):
        return {}, ""
    job: dict[str, Any] = read_json(os.path.join(directory, "job.json"), {})
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["started"]))
        return job, f"{job['name']}, since {since}, pid {job['pid']}"
    except (KeyError, TypeError):
        return {"argv": []}, f"an unknown process that holds {directory}/lock"


def belongs(job: dict[str, Any], objects: str, targets: list[str]) -> bool:
    """Return whether a job is a step of building these programs from these objects, so that a build goes on with it."""
    argv = list(job.get("argv", []))
    if any("source.git" in word for word in argv):
        return True
    if not objects or not any(f"/build/{objects}/" in word for word in argv):
        return False
    return argv[0] != "ninja" or compiles(job, objects, targets)


def compiles(job: dict[str, Any], objects: str, targets: list[str]) -> bool:
    """Return whether a job is ninja at these programs."""
    argv = list(job.get("argv", []))
    in_tree = bool(objects) and any(f"/build/{objects}/" in word for word in argv)
    return in_tree and argv[0] == "ninja" and argv[-len(targets) :] == targets


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "wanted": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": WANTED,
                "required_one_of": [("id", "version")],
                "required_by": {"version": NEEDED},
            }
        },
        supports_check_mode=True,
    )
    host = host_facts(module)
    releases = []
    for wanted in module.params["wanted"]:
        root = os.path.abspath(wanted["root"])
        of = derive(module, wanted, host) if wanted["version"] else {"id": wanted["id"]}
        found = inspect(root, of["id"]) if of["id"] else {"state": "absent", "damage": "", "release": {}}
        free = free_bytes(root) >> 20
        current = pointed(root, wanted["pointer"])
        releases.append({"root": root, "current": current, "disk_free_mib": free, "busy": "", **of, **found})
    for root in {release["root"] for release in releases}:
        job, words = running_job(root)
        built = [
            (release, wanted["targets"])
            for release, wanted in zip(releases, module.params["wanted"])
            if release["root"] == root and "objects" in release
        ]
        if not words:
            continue
        for release, targets in built:
            if release["state"] == "absent" and compiles(job, release["objects"], targets):
                release["state"] = "making"
                # With other words it would be another command, and not attached to.
                release["jobs"] = int(job["argv"][job["argv"].index("-j") + 1])
        if not any(belongs(job, release["objects"], targets) for release, targets in built):
            for release, _targets in built:
                release["busy"] = words
    module.exit_json(changed=False, host=host, releases=releases)


if __name__ == "__main__":
    main()
