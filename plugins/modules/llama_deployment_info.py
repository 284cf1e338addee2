#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the deployments of a board, and what serves."""

from __future__ import annotations

DOCUMENTATION = """
---
module: llama_deployment_info
short_description: Return the deployments of a board, and what serves
description:
  - Returns where the pointers go, what runs, and of one deployment whether it serves. Changes nothing.
  - The deployment is the one of O(id); else the one that O(engine), O(model), O(arguments) and O(files) would make;
    else the one to roll back to. That is the verified one where another is in service, else the previous one.
options:
  id:
    description: ID of a deployment.
    type: str
    default: ""
  release:
    description:
      - ID of the engine release that an earlier step is to make O(engine) name, empty if it is not known yet. Another
        one counts as missing.
      - Left out, the one that is there is meant.
    type: str
  model_sha256:
    description: The same for the model.
    type: str
  port:
    description: Port of the API, to find another program that listens there. V(0) asks nothing.
    type: int
    default: 0
  api_key_file:
    description: File with the API keys, which the server reads when it starts. Empty if it has none.
    type: path
    default: ""
  api_keys_sha256:
    description: sha256 of each key that this file is to have. Left out, whatever is in it is right.
    type: list
    elements: str
  keep_api_keys:
    description: Whether further keys in this file stay.
    type: bool
    default: false
  user:
    description: Name of the account that the server runs as, to find another one of that name. Empty asks nothing.
    type: str
    default: ""
extends_documentation_fragment:
  - ik_llama.pi.options.deployment
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Get what serves
  ik_llama.pi.llama_deployment_info:
  register: deployments
"""

RETURN = """
id:
  description: ID of the deployment asked for; empty where engine or model are missing, or there is none.
  returned: always
  type: str
missing:
  description: What must be made before, V(engine release) or V(model).
  returned: always
  type: list
  elements: str
release:
  description:
    - ID of the engine release of the deployment C(id), empty if that, or its model, is not there any more. Of one that
      is not built yet, the release that it would have.
  returned: always
  type: str
model:
  description: sha256 of its model, empty if it is not known.
  returned: always
  type: str
arguments:
  description: Its arguments of llama-server, a list for each flag, without the model.
  returned: always
  type: list
  elements: list
served:
  description:
    - How it is reached, as C(url) (from its own board), C(address), C(port), C(alias) and C(api_key_file).
  returned: always
  type: dict
change:
  description: Whether something must be (re)started for this deployment to serve and to be verified.
  returned: always
  type: bool
serves:
  description: Whether it is in service, verified and healthy. Then there is nothing to do.
  returned: always
  type: bool
keys_change:
  description: Whether the API keys in O(api_key_file) are others than they are to be.
  returned: always
  type: bool
keys_surplus:
  description: Whether there are further API keys in O(api_key_file).
  returned: always
  type: bool
fallback:
  description: ID of the deployment to restore if this one does not serve; empty if there is none.
  returned: always
  type: str
fallback_url:
  description: URL of that deployment, from its own board.
  returned: always
  type: str
current:
  description: ID of the deployment in service, empty if there is none.
  returned: always
  type: str
verified:
  description: ID of the last deployment that has answered, empty if there is none.
  returned: always
  type: str
previous:
  description: ID of the verified deployment before that, empty if there is none.
  returned: always
  type: str
running:
  description: ID of the deployment that the running process was started from, empty if none runs.
  returned: always
  type: str
rollout:
  description: Name of the rollout that last changed what serves, or began to; empty if there is none.
  returned: always
  type: str
deployment:
  description: Manifest of the deployment in service, empty if there is none.
  returned: always
  type: dict
altered:
  description: Names in the deployment in service that are not what it was built with, because somebody changed them.
  returned: always
  type: list
  elements: str
current_served:
  description: How the deployment in service is reached, as C(served).
  returned: always
  type: dict
recipe:
  description: Recipe of the model in service, empty if it is not known.
  returned: always
  type: str
release_manifest:
  description: Manifest of the engine release at O(engine), empty where the one that is meant is not there.
  returned: always
  type: dict
model_manifest:
  description:
    - Manifest of the model at O(model), the same. C(types) is the number of tensors of each type.
  returned: always
  type: dict
port_owner:
  description: Another program that listens on O(port); empty if none does.
  returned: always
  type: str
resident_mib:
  description: Memory that the server of this board uses now, in MiB; 0 if none runs.
  returned: always
  type: int
unreadable:
  description: Files that O(arguments) name and that the account O(user) cannot read, each with its flag and the reason.
  returned: always
  type: list
  elements: str
unit_problem:
  description: Why the unit at O(unit_path) is not ours to write; empty if it is.
  returned: always
  type: str
listen_problem:
  description: Why the server could not listen on the address in O(arguments); empty if it could, or none are given.
  returned: always
  type: str
unit_owner:
  description: Another unit with the name of O(unit_path), by its path; empty if there is none.
  returned: always
  type: str
account_owner:
  description: Another account or group with the name O(user); empty if there is none.
  returned: always
  type: str
"""

import os
from collections import Counter
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json, read_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import listen_problem
from ansible_collections.ik_llama.pi.plugins.module_utils.server.account import account_owner, unit_owner
from ansible_collections.ik_llama.pi.plugins.module_utils.server.arguments import served_at
from ansible_collections.ik_llama.pi.plugins.module_utils.server.deployment import (
    DEPLOYMENT_OPTIONS,
    Deployments,
    Inputs,
    release_id,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.server.named_files import unreadable
from ansible_collections.ik_llama.pi.plugins.module_utils.server.process import port_owner, resident_mib


def wanted(params: dict[str, Any]) -> dict[str, Any]:
    """Return the deployment that these parameters would make, and the manifests of its parts."""
    inputs = Inputs(params["engine"], params["model"], params["arguments"], params["files"])
    missing = inputs.missing(params["release"], params["model_sha256"])
    release = {} if "engine release" in missing else inputs.release_manifest
    model = {} if "model" in missing else inputs.model_manifest
    return {
        "id": "" if missing else inputs.id(),
        "missing": missing,
        "release": release_id(release),
        "model": model.get("sha256", ""),
        "arguments": inputs.arguments,
        "served": served_at(inputs.arguments),
        "release_manifest": release,
        "model_manifest": {**model, "types": Counter(model["types"].values())} if "types" in model else model,
    }


def known(deployments: Deployments, deployment: str) -> dict[str, Any]:
    """Return the same of a deployment that was built before."""
    manifest = deployments.manifest(deployment)
    return {
        "id": deployment,
        "missing": [],
        "release": deployments.release(deployment),
        "model": manifest.get("model", ""),
        "arguments": manifest.get("arguments", []),
        "served": deployments.served(deployment),
        "release_manifest": {},
        "model_manifest": {},
    }


def compare_keys(params: dict[str, Any]) -> tuple[bool, bool]:
    """Return whether the file of API keys lacks one, and whether it has further ones."""
    if not params["api_key_file"] or params["api_keys_sha256"] is None:
        return False, False
    present = {sha256_text(key) for key in read_text(params["api_key_file"]).split()}
    wanted = set(params["api_keys_sha256"])
    return not wanted <= present, not present <= wanted


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **DEPLOYMENT_OPTIONS,
            "id": {"type": "str", "default": ""},
            "release": {"type": "str"},
            "model_sha256": {"type": "str"},
            "port": {"type": "int", "default": 0},
            "api_key_file": {"type": "path", "default": "", "no_log": False},
            "api_keys_sha256": {"type": "list", "elements": "str", "no_log": True},
            "keep_api_keys": {"type": "bool", "default": False, "no_log": False},
            "user": {"type": "str", "default": ""},
        },
        required_together=[("engine", "model")],
        supports_check_mode=True,
    )
    params = module.params
    deployments = Deployments(params["root"], params["unit_path"])
    if params["engine"] and not params["id"]:
        found = wanted(params)
    else:
        found = known(deployments, params["id"] or deployments.before())
    lacking, surplus = compare_keys(params)
    keys = lacking or (surplus and not params["keep_api_keys"])
    fallback = deployments.fallback(found["id"])
    change = (
        not found["id"]
        or keys
        or deployments.stale(found["id"], params["api_key_file"])
        or bool(deployments.altered(found["id"]))
    )
    current = deployments.pointed("current")
    unit = os.path.basename(params["unit_path"])
    module.exit_json(
        **found,
        changed=False,
        change=change,
        serves=not change and deployments.healthy(found["id"]),
        keys_change=keys,
        keys_surplus=surplus,
        fallback=fallback,
        fallback_url=deployments.served(fallback)["url"],
        current=current,
        verified=deployments.pointed("verified"),
        previous=deployments.pointed("previous"),
        running=deployments.process()[0],
        rollout=deployments.rollout(),
        deployment=deployments.manifest(current),
        altered=deployments.altered(current),
        current_served=deployments.served(current),
        recipe=str(
            read_json((deployments.folder(current) / "model").resolve().with_suffix(".json"), dict[str, Any]()).get(
                "recipe", ""
            )
            if current
            else ""
        ),
        port_owner=port_owner(params["port"], unit, params["root"]) if params["port"] else "",
        resident_mib=resident_mib(deployments.pid()),
        unreadable=unreadable(params["arguments"], params["user"]) if params["user"] else [],
        unit_problem=deployments.unit_problem(),
        listen_problem=listen_problem(found["served"]["address"]) if params["engine"] else "",
        unit_owner=unit_owner(params["unit_path"], params["root"]),
        account_owner=account_owner(params["user"], params["unit_path"]) if params["user"] else "",
    )


if __name__ == "__main__":
    main()
