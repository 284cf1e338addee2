#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what a benchmark of this board would measure, and with which programs."""

from __future__ import annotations

DOCUMENTATION = """
---
module: llama_bench_info
short_description: Return what a benchmark of this board would measure
version_added: "0.2.0"
description:
  - Returns the deployment in service, its engine release and its model as the header of the file describes it, the
    programs that can measure them, and whether the server runs. Changes nothing.
options:
  root:
    description: Folder of the deployments.
    type: path
    default: /var/lib/llama
  engine_root:
    description: Folder with C(releases/) and the pointers C(current) and C(bench).
    type: path
    default: /opt/ik_llama
  unit:
    description: Name of the server's systemd unit.
    type: str
    default: llama-server.service
  bench_unit:
    description: Name of the benchmark's systemd unit.
    type: str
    default: llama-bench.service
  job:
    description: Folder of the job that follows a benchmark, as M(ik_llama.pi.long_command) takes it.
    type: path
    default: /run/llama-bench/job
  results:
    description: Folder where results are written. It may be missing.
    type: path
    default: /var/lib/llama-bench
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Get what would be measured
  ik_llama.pi.llama_bench_info:
  register: bench
"""

RETURN = """
deployment:
  description: ID of the deployment in service, empty if there is none.
  returned: always
  type: str
arguments:
  description: Its arguments of llama-server, a list for each flag.
  returned: always
  type: list
  elements: list
release:
  description: Manifest of its engine release.
  returned: always
  type: dict
model:
  description: >-
    C(path), C(architecture), C(hparams), C(tensor_bytes), C(bytes_per_token), C(recipe), C(name) and C(sha256) of its
    model.
  returned: always
  type: dict
programs:
  description: Folder with the programs of the same commit that measure, empty if there is none.
  returned: always
  type: str
programs_differ:
  description: How their build differs from the one that serves, as C(commit), C(options), C(compiler), C(target_cpu).
  returned: always
  type: list
  elements: str
server:
  description: C(active) and C(enabled) of the server's unit, and the memory it uses as C(resident_mib).
  returned: always
  type: dict
running:
  description: Whether a benchmark runs.
  returned: always
  type: bool
followed:
  description: Whether a job follows it, which a run can attach to.
  returned: always
  type: bool
free_mib:
  description: Free space for results.
  returned: always
  type: int
problem:
  description: Why nothing can be measured, empty if it can.
  returned: always
  type: str
code:
  description: One word for that, C(deployment), C(release) or C(model).
  returned: always
  type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import free_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.common.systemd import show
from ansible_collections.ik_llama.pi.plugins.module_utils.server.benchmark import (
    BenchmarkError,
    differences,
    find_programs,
    model_facts,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.server.deployment import read_manifest
from ansible_collections.ik_llama.pi.plugins.module_utils.server.process import resident_mib

#: States of a unit whose program works, or is about to.
AT_WORK = ("active", "activating", "reloading")


def subject(current: Path, engine_root: Path) -> dict[str, Any]:
    """Return what is measured, and with which programs. BenchmarkError if something of it is missing."""
    deployment = read_manifest(current)
    if not deployment:
        raise BenchmarkError("nothing is in service. Run site.yml first", "deployment")
    engine = current / "engine"
    release: dict[str, Any] = read_json(engine / "release.json", {})
    if "commit" not in release:
        raise BenchmarkError(f"the engine release at {engine} was removed. Run site.yml again", "release")
    programs, measuring = find_programs([engine, engine_root / "current", engine_root / "bench"], release["commit"])
    return {
        "deployment": deployment["id"],
        "arguments": deployment["arguments"],
        "release": release,
        "model": model_facts(current / "model"),
        "programs": programs,
        "programs_differ": differences(release, measuring),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/var/lib/llama"},
            "engine_root": {"type": "path", "default": "/opt/ik_llama"},
            "unit": {"type": "str", "default": "llama-server.service"},
            "bench_unit": {"type": "str", "default": "llama-bench.service"},
            "job": {"type": "path", "default": "/run/llama-bench/job"},
            "results": {"type": "path", "default": "/var/lib/llama-bench"},
        },
        supports_check_mode=True,
    )
    params = module.params
    found: dict[str, Any] = {
        "deployment": "",
        "arguments": [],
        "release": {},
        "model": {},
        "programs": "",
        "programs_differ": [],
        "problem": "",
        "code": "",
    }
    try:
        found |= subject(Path(params["root"], "current"), Path(params["engine_root"]))
    except BenchmarkError as error:
        found |= {"problem": str(error), "code": error.code}
    unit = show(params["unit"], "ActiveState", "UnitFileState", "MainPID")
    server = {
        "active": unit.get("ActiveState") in AT_WORK,
        "enabled": unit.get("UnitFileState") == "enabled",
        "resident_mib": resident_mib(unit.get("MainPID") or "0"),
    }
    module.exit_json(
        changed=False,
        **found,
        server=server,
        running=show(params["bench_unit"], "ActiveState").get("ActiveState") in AT_WORK,
        followed=locked(params["job"]),
        free_mib=free_bytes(params["results"]) >> 20,
    )


if __name__ == "__main__":
    main()
