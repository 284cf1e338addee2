#!/usr/bin/python
"""Say what an engine release would be on this host, and whether it stands."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine_release
short_description: State of an engine release on a host, and what the host has to make one
version_added: "0.1.0"
description:
  - Reads only. One call answers all that the role needs before it decides whether to build.
options:
  root:
    description: Folder with C(releases/) and the pointer C(current).
    type: path
    required: true
  key:
    description: Key of the release to look for. Computed from I(request) where it is missing.
    type: str
  request:
    description: What the release is to be made of, where this host is to make it.
    type: dict
    suboptions:
      repository: {description: Where names of branches and tags are looked up., type: str, required: true}
      version: {description: "Full SHA, or name of a branch or tag.", type: str, required: true}
      targets: {description: Programs., type: list, elements: str, required: true}
      cross: {description: Compile for ARM64 Linux., type: bool, required: true}
      native: {description: Compile for the very CPU of this host., type: bool, required: true}
      target_cpu: {description: CPU to compile for otherwise., type: str, required: true}
      lto: {description: Link-time optimization., type: bool, required: true}
      openblas: {description: Use OpenBLAS., type: bool, required: true}
      cmake_options: {description: Further CMake options., type: dict, required: true}
      ccache: {description: Whether ccache is to be used., type: bool, required: true}
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: Look for the release
  engine_release:
    root: /opt/ik_llama
    key: 0123456789ab
"""

RETURN = r"""
host:
  description: system, architecture, cpu, cpu_features, cores, memory_mib, disk_free_mib, apt, brew, root (may install).
  type: dict
  returned: always
root:
  description: I(root) as an absolute path.
  type: str
  returned: always
plan:
  description: >-
    With I(request): commit, options, compiler, target_cpu, jobs, tools_missing and key. The key is empty
    as long as the compiler is missing, and commit and key where git is missing and a name must be looked up.
  type: dict
  returned: with request
key:
  description: The key that was looked for.
  type: str
  returned: always
busy:
  description: What else is made in this root just now, in words; empty where nothing is.
  type: str
  returned: always
state:
  description: absent, making (a compiler runs), damaged or finished.
  type: str
  returned: always
damage:
  description: What is wrong with a damaged release.
  type: str
  returned: always
release:
  description: The manifest of a finished release.
  type: dict
  returned: always
current:
  description: Key that the pointer names; empty where there is none.
  type: str
  returned: always
"""

import json
import os
import platform
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import cpu_features
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import build as engine
from ansible_collections.ik_llama.pi.plugins.module_utils.engine.releases import current_key, inspect


def read(path: str) -> str:
    """Return the text of a file, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def free_mib(path: str) -> int:
    """Return the free room in MiB where path is, or will be."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free >> 20


def commit_of(module: AnsibleModule, repository: str, version: str) -> str:
    """Return the commit that the version names; only a name is looked up. Empty where git is missing."""
    if engine.is_commit(version):
        return version
    if not shutil.which("git"):
        return ""
    refs = [f"refs/heads/{version}", f"refs/tags/{version}", f"refs/tags/{version}^{{}}"]
    code, out, err = module.run_command(["git", "ls-remote", "--", repository, *refs])
    if code:
        module.fail_json(
            msg=f"cannot look up ik_llama_build_version {version} in ik_llama_build_repository {repository}: "
            f"{err.strip()[-300:]}. Correct them, or write the full SHA of a commit that was fetched before"
        )
    commit = engine.resolve_ref(out, version)
    if not commit:
        module.fail_json(
            msg=f"ik_llama_build_version is {version}, and {repository} (ik_llama_build_repository) has no branch or "
            "tag of that name; write one that it has, or the full SHA of a commit (40 hex digits)"
        )
    return commit


def running(root: str, key: str) -> tuple[bool, str]:
    """Return whether this very release is compiling, and what else keeps the root busy, in words."""
    directory = os.path.join(root, "build", "job")
    if not locked(directory):
        return False, ""
    try:
        with open(os.path.join(directory, "job.json"), encoding="utf-8") as handle:
            job = json.load(handle)
        words = " ".join(job["argv"])
    except (OSError, ValueError, KeyError, TypeError):
        return False, f"an unknown process that holds {directory}/lock"
    if key and f"/build/{key}/" in words:
        return job["argv"][0] == "ninja", ""
    if "source.git" in words:
        return False, ""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["started"]))
    return False, f"{job['name']}, since {since}, pid {job['pid']}"


def main() -> None:
    request = {
        "repository": {"type": "str", "required": True},
        "version": {"type": "str", "required": True},
        "targets": {"type": "list", "elements": "str", "required": True},
        "cross": {"type": "bool", "required": True},
        "native": {"type": "bool", "required": True},
        "target_cpu": {"type": "str", "required": True},
        "lto": {"type": "bool", "required": True},
        "openblas": {"type": "bool", "required": True},
        "cmake_options": {"type": "dict", "required": True},
        "ccache": {"type": "bool", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "key": {"type": "str", "no_log": False},
            "request": {"type": "dict", "options": request},
        },
        required_one_of=[("key", "request")],
        supports_check_mode=True,
    )
    root = os.path.abspath(module.params["root"])
    uname = os.uname()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    cpuinfo = read("/proc/cpuinfo")
    cpu = engine.cpu_name(cpuinfo)
    if uname.sysname == "Darwin":
        cpu = module.run_command(["sysctl", "-n", "machdep.cpu.brand_string"])[1].strip()
    cores = os.cpu_count() or 1
    result = {
        "root": root,
        "host": {
            "system": uname.sysname,
            "architecture": engine.architecture(uname.machine),
            "cpu": cpu or platform.processor(),
            "cpu_features": cpu_features(cpuinfo),
            "cores": cores,
            "memory_mib": memory,
            "disk_free_mib": free_mib(root),
            "apt": shutil.which("apt-get") is not None,
            "brew": shutil.which("brew") is not None,
            "root": os.geteuid() == 0,
        },
    }
    key = module.params["key"] or ""
    wanted = module.params["request"]
    if wanted:
        cross, native = wanted["cross"], wanted["native"]
        options = engine.cmake_options(
            system=uname.sysname,
            machine=uname.machine,
            cross=cross,
            native=native,
            target_cpu=wanted["target_cpu"],
            lto=wanted["lto"],
            openblas=wanted["openblas"],
            extra=wanted["cmake_options"],
        )
        target_cpu = engine.target_cpu_name(
            system=uname.sysname,
            machine=uname.machine,
            cross=cross,
            native=native,
            target_cpu=wanted["target_cpu"],
            cpu=result["host"]["cpu"],
        )
        needed = engine.tools(system=uname.sysname, cross=cross, ccache=wanted["ccache"])
        compiler_path = shutil.which(options.get("CMAKE_CXX_COMPILER", "c++"))
        compiler = ""
        if compiler_path:
            version = module.run_command([compiler_path, "--version"])[1]
            compiler = version.splitlines()[0].strip() if version.strip() else ""
        commit = commit_of(module, wanted["repository"], wanted["version"])
        if compiler and commit and not key:
            key = engine.release_key(
                commit=commit,
                options=options,
                compiler=compiler,
                target_cpu=target_cpu,
                targets=wanted["targets"],
            )
        result["plan"] = {
            "key": key,
            "commit": commit,
            "options": options,
            "compiler": compiler,
            "target_cpu": target_cpu,
            "jobs": engine.jobs(cores, memory),
            # A Mac without the command line tools has a c++ and a git that only ask for them.
            "tools_missing": [
                name
                for name in needed
                if not shutil.which(name) or (shutil.which(name) == compiler_path and not compiler)
            ],
        }
    seen = inspect(root, key) if key else {"state": "absent", "damage": "", "release": {}}
    making, busy = running(root, key)
    if making and seen["state"] == "absent":
        seen["state"] = "making"
    module.exit_json(changed=False, key=key, current=current_key(root), busy=busy, **seen, **result)


if __name__ == "__main__":
    main()
