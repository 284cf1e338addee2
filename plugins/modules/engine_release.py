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
      commit: {description: Full SHA., type: str, required: true}
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
  description: system, architecture, cpu, cores, memory_mib, disk_free_mib, apt, root (may install).
  type: dict
  returned: always
root:
  description: I(root) as an absolute path.
  type: str
  returned: always
plan:
  description: >-
    With I(request): options, compiler, target_cpu, jobs, tools_missing and key. The key is empty
    as long as the compiler is missing.
  type: dict
  returned: with request
key:
  description: The key that was looked for.
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

import os
import platform
import shutil

from ansible.module_utils import engine
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.jobs import locked
from ansible.module_utils.releases import current_key, inspect


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


def main() -> None:
    request = {
        "commit": {"type": "str", "required": True},
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
    cpu = engine.cpu_name(read("/proc/cpuinfo"))
    if uname.sysname == "Darwin":
        cpu = module.run_command(["sysctl", "-n", "machdep.cpu.brand_string"])[1].strip()
    cores = os.cpu_count() or 1
    result = {
        "root": root,
        "host": {
            "system": uname.sysname,
            "architecture": engine.architecture(uname.machine),
            "cpu": cpu or platform.processor(),
            "cores": cores,
            "memory_mib": memory,
            "disk_free_mib": free_mib(root),
            "apt": shutil.which("apt-get") is not None,
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
        if compiler and not key:
            key = engine.release_key(
                commit=wanted["commit"],
                options=options,
                compiler=compiler,
                target_cpu=target_cpu,
                targets=wanted["targets"],
            )
        result["plan"] = {
            "key": key,
            "options": options,
            "compiler": compiler,
            "target_cpu": target_cpu,
            "jobs": engine.jobs(cores, memory),
            "tools_missing": [name for name in needed if not shutil.which(name)],
        }
    seen = inspect(root, key) if key else {"state": "absent", "damage": "", "release": {}}
    if key and seen["state"] == "absent" and locked(os.path.join(root, "build", key, "job")):
        seen["state"] = "making"
    module.exit_json(changed=False, key=key, current=current_key(root), **seen, **result)


if __name__ == "__main__":
    main()
