#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Turn programs into an engine release, and point to it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine_release
short_description: Stage or finish an engine release, point to one, or remove all
version_added: "0.2.0"
description:
  - Nothing appears under the ID of a release before all of it is there.
options:
  state:
    description:
      - V(staged) copies the programs of a build into C(releases/.<ID>.new/), starts each and reads what it needs.
      - V(received) compares what was copied there with the build host's manifest, and starts each program.
      - V(finished) makes a release of what is staged.
      - V(current) lets O(pointer) name the release, and removes releases that are too old to be kept.
      - V(absent) removes all that the roles put into I(root), unless something still uses it.
    type: str
    choices: [staged, received, finished, current, absent]
    required: true
  root:
    description: Folder with C(releases/) and the pointer C(current).
    type: path
    required: true
  release:
    description: The manifest; for V(staged) without binaries and features, which are added here.
    type: dict
  id:
    description: ID of the release, for V(current). Empty means the one that was in use before.
    type: str
  pointer:
    description: Which pointer names it, for V(current). What serves depends on V(current) alone.
    type: str
    choices: [current, bench, evaluate]
    default: current
  keep:
    description: How many releases stay, for V(current). What is in use, or was before, stays in any case.
    type: int
    default: 3
  users:
    description: Patterns of links to releases. What one of them points to stays too.
    type: list
    elements: str
    default: []
  programs:
    description: Folder with the built programs, for V(staged).
    type: path
attributes:
  check_mode:
    support: full
    description: Reports what would change.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Point to the release
  ik_llama.pi.engine_release:
    state: current
    root: /opt/ik_llama
    id: 0123456789ab
"""

RETURN = r"""
release:
  description: The manifest.
  type: dict
  returned: state staged, received and finished
removed:
  description: IDs of the releases that were removed.
  type: list
  elements: str
  returned: state current
"""

import os
import re
import shlex
import shutil
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import cpu_features
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import build as engine
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import releases


def runs_here(release: dict[str, Any]) -> bool:
    """Tell whether this host can run the release's programs."""
    return engine.architecture(os.uname().machine) == release["architecture"]


def try_programs(module: AnsibleModule, where: str, release: dict[str, Any]) -> None:
    """Start each program once. One for another CPU dies by a signal; say so.

    Not every program knows --version (llama-quantize shows its usage and exits 1), so
    only a signal, or the version of another commit, is wrong.
    """
    for name in release["targets"]:
        code, out, err = module.run_command([os.path.join(where, name), "--version"], cwd=where)
        text = (out + err).strip()
        version = re.search(r"version: \d+ \((\w+)\)", text)
        if code not in (0, 1) or not text:
            module.fail_json(
                msg=f"{name} does not start on this host (code {code}): {text[-500:] or 'silent'}. "
                f"It was made for {release['target_cpu']}; check ik_llama_build_target_cpu and "
                "that the packages the engine needs (libgomp1) are installed"
            )
        if version and not release["commit"].startswith(version.group(1)):
            module.fail_json(
                msg=f"{name} says it is {version.group(1)}, not {release['commit']}: "
                "remove the build folder and run again"
            )


def features_of(module: AnsibleModule, path: str, release: dict[str, Any]) -> tuple[list[str], int]:
    """Return the CPU features that a program uses, and how many signed dot products it has."""
    tool = "objdump" if runs_here(release) else f"{engine.CROSS_PREFIX}objdump"
    argv = [module.get_bin_path(tool, required=True), "-d", "--no-show-raw-insn", path]
    # Read as it comes: the text is several times as large as a board's spare memory likes.
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as listing:
        if listing.stdout is None:
            raise AssertionError  # it is a pipe
        found = engine.find_features(listing.stdout, release["architecture"])
    if listing.returncode:
        module.fail_json(msg=f"{shlex.join(argv)} ended with code {listing.returncode}")
    return found


def libraries_of(module: AnsibleModule, path: str, release: dict[str, Any]) -> list[str]:
    """Return the shared libraries that a program is linked with, by the names it asks for."""
    tool = "objdump" if runs_here(release) else f"{engine.CROSS_PREFIX}objdump"
    listing = module.run_command([module.get_bin_path(tool, required=True), "-p", path], check_rc=True)[1]
    return re.findall(r"^\s*NEEDED\s+(\S+)$", listing, re.MULTILINE)


def stage(module: AnsibleModule, root: str, release: dict[str, Any]) -> dict[str, Any]:
    """Copy the programs into the staging folder and read what they need."""
    new = releases.staging(root, release["id"])
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(os.path.join(new, "bin"))
    for name in release["targets"]:
        built = os.path.join(module.params["programs"], name)
        if not os.path.isfile(built):
            module.fail_json(
                msg=f"the build made no {built}; is {name} in ik_llama_build_targets a target of this commit?"
            )
        shutil.copy2(built, os.path.join(new, "bin", name))
    where = os.path.join(new, "bin")
    if runs_here(release):
        try_programs(module, where, release)
    features: dict[str, Any] = {}
    if os.uname().sysname == "Linux":
        seen = {name: features_of(module, os.path.join(where, name), release) for name in release["targets"]}
        features["cpu"] = sorted({name for found, _dots in seen.values() for name in found})
        features["libraries"] = sorted(
            {
                library
                for name in release["targets"]
                for library in libraries_of(module, os.path.join(where, name), release)
            }
        )
        if release["architecture"] == "aarch64":
            features["sdot"] = min(dots for _found, dots in seen.values())
            if not features["sdot"]:
                module.fail_json(
                    msg=f"no dot-product instruction in {min(seen, key=lambda name: seen[name][1])}: it would "
                    "abort when it starts. Set ik_llama_build_target_cpu to a CPU that has them "
                    "(cortex-a76), or GGML_ARCH_FLAGS in ik_llama_build_cmake_options"
                )
    return {
        **release,
        "binaries": releases.describe(where, release["targets"]),
        "features": features,
    }


def receive(module: AnsibleModule, root: str, release: dict[str, Any]) -> dict[str, Any]:
    """Compare what arrived with the builder's manifest, and try it."""
    where = os.path.join(releases.staging(root, release["id"]), "bin")
    try:
        releases.compare(where, release["binaries"], seen={})
    except releases.ReleaseError as error:
        module.fail_json(msg=f"{where}: {error}. It was damaged on its way. Run again.")
    if not runs_here(release):
        module.fail_json(
            msg=f"the release is for {release['architecture']}, this host is {os.uname().machine}; "
            "check ik_llama_build_strategy"
        )
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as handle:
        lacks = engine.lacking(release["features"].get("cpu", []), cpu_features(handle.read()))
    if lacks:
        module.fail_json(
            msg=f"the release uses {', '.join(lacks)}, which this host's CPU does not have: it was made for "
            f"{release['target_cpu']}. Set ik_llama_build_target_cpu to this host's CPU, or ik_llama_build_strategy "
            "to native"
        )
    for name in release["binaries"]:
        os.chmod(os.path.join(where, name), 0o755)
    try_programs(module, where, release)
    return release


def use(module: AnsibleModule, root: str) -> None:
    """Let the pointer name a release, remove old ones, and leave."""
    pointer = module.params["pointer"]
    before = releases.pointed(root, pointer)
    wanted = module.params["id"] or releases.pointed(root, "previous")
    if not wanted:
        module.fail_json(
            msg=f"{root} has no release that was in use before {before or 'another'}. Name one by its ID "
            "(ik_llama_install_release)."
        )
    if before == wanted:
        module.exit_json(changed=False, removed=[])
    removed = []
    if not module.check_mode:
        found = releases.inspect(root, wanted)
        if found["state"] != "finished":
            module.fail_json(msg=f"release {wanted} in {root} is {found['state']} {found['damage']}".strip())
        releases.point(root, wanted, pointer)
        removed = releases.prune(root, module.params["keep"], module.params["users"])
    names = [f"{pointer} -> releases/{name}\n" if name else "" for name in (before, wanted)]
    module.exit_json(changed=True, removed=removed, diff={"before": names[0], "after": names[1]})


def remove(module: AnsibleModule, root: str) -> None:
    """Remove what the role put into its root, and the root if nothing else is in it, and leave."""
    links = [link for found in releases.users(root, module.params["users"]).values() for link in found]
    if links and not module.check_mode:  # there the server is not removed before
        module.fail_json(msg=f"{root} is in use by {', '.join(links)}; remove the server first (playbooks/remove.yml)")
    if locked(os.path.join(root, "build", "job")):
        module.fail_json(msg=f"a release is being made in {root}; wait for it, or end the job in {root}/build/job")
    there = [name for name in releases.CONTENTS if os.path.lexists(os.path.join(root, name))]
    if there and not module.check_mode:
        for name in there:
            path = os.path.join(root, name)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        if not os.listdir(root):
            os.rmdir(root)
    module.exit_json(changed=bool(there), diff={"before": "".join(f"{root}/{name}\n" for name in there), "after": ""})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "required": True,
                "choices": ["staged", "received", "finished", "current", "absent"],
            },
            "root": {"type": "path", "required": True},
            "release": {"type": "dict"},
            "id": {"type": "str"},
            "pointer": {"type": "str", "choices": list(releases.POINTERS), "default": "current"},
            "keep": {"type": "int", "default": 3},
            "users": {"type": "list", "elements": "str", "default": []},
            "programs": {"type": "path"},
        },
        required_if=[
            ("state", "staged", ["release", "programs"]),
            ("state", "received", ["release"]),
            ("state", "finished", ["release"]),
            ("state", "current", ["id"]),
        ],
        supports_check_mode=True,
    )
    root = os.path.abspath(module.params["root"])
    release = module.params["release"]
    try:
        if module.params["state"] == "current":
            use(module, root)
        if module.params["state"] == "absent":
            remove(module, root)
        if not module.check_mode:
            if module.params["state"] == "staged":
                release = stage(module, root, release)
            elif module.params["state"] == "received":
                release = receive(module, root, release)
            else:
                releases.finish(root, release)
    except OSError as error:
        module.fail_json(msg=f"cannot finish the engine release in {root}: {error}")
    diff = {"before": "", "after": f"releases/{release['id']}\n"} if module.params["state"] == "finished" else {}
    module.exit_json(changed=True, release=release, diff=diff)


if __name__ == "__main__":
    main()
