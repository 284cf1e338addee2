#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: build a deployment, and move the pointers to one."""

from __future__ import annotations

DOCUMENTATION = """
---
module: llama_deployment
short_description: Build a deployment of llama-server, and move the pointers to one
description:
  - A deployment is one engine release, one model, one set of arguments and the files that start the server, under an ID
    that is the digest of all of them.
  - With O(state=built), which needs O(engine) and O(model), it is built next to the others. Nothing in service changes.
  - With O(state=current) the pointer C(current) and the unit file move to a deployment. The service is not started.
  - With O(state=verified) a deployment is marked as one that has answered, and the verified one before it becomes
    C(previous).
  - With O(state=pruned) deployments are removed that cannot serve any more, because their engine or model was removed,
    unless a pointer names them.
  - With O(state=absent) pointers and deployments are removed. Models and engines stay.
  - M(ik_llama.pi.llama_deployment_info) returns what is there.
options:
  state:
    description: What to reach.
    type: str
    choices: [built, current, verified, pruned, absent]
    default: built
  id:
    description:
      - ID of the deployment that a pointer is moved to; needed for V(current) and V(verified).
      - Empty with O(state=current) to remove the pointer, because nothing can serve.
    type: str
  rollout:
    description: Name of the rollout that this is part of. V(current) and V(verified) keep it.
    type: str
    default: ""
  missing:
    description:
      - What an earlier step is to make first, as M(ik_llama.pi.llama_deployment_info) returns it.
      - In check mode that step did nothing, so that the deployment is only reported.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - ik_llama.pi.options.deployment
attributes:
  check_mode:
    support: full
    description: Reports what would change, and changes nothing.
  diff_mode:
    support: full
    description: Shows the start script, or where the pointer goes.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Build the deployment
  ik_llama.pi.llama_deployment:
    engine: /opt/ik_llama/current
    model: /var/lib/llama/models/alphabet/current.gguf
    arguments: [[--port, "8080"]]
    files:
      run: "{{ lookup('ansible.builtin.template', 'run.j2') }}"
      llama-server.service: "{{ lookup('ansible.builtin.template', 'llama-server.service.j2') }}"
  register: deployment

- name: Move the pointer
  ik_llama.pi.llama_deployment:
    state: current
    id: "{{ deployment.id }}"
"""

RETURN = """
id:
  description: ID of the deployment; empty where none is meant, and in check mode where engine or model are missing.
  returned: always
  type: str
running:
  description: ID of the deployment that the running process was started from, empty if none runs.
  returned: always
  type: str
argument:
  description: The option that is wrong.
  returned: on failure
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.server.deployment import (
    DEPLOYMENT_OPTIONS,
    DeploymentError,
    Deployments,
    Inputs,
)


def reach(module: AnsibleModule, deployments: Deployments) -> tuple[str, bool, dict[str, str]]:
    """Do what the state asks for. Return the ID that is meant, whether anything changed, and the difference."""
    params = module.params
    deployment = params["id"] or ""
    renamed = False
    if params["state"] in ("built", "current", "verified") and not module.check_mode:
        renamed = deployments.rename_pointers()
    if params["state"] == "absent":
        return "", deployments.remove(module.check_mode), {}
    if params["state"] == "pruned":
        return "", deployments.prune(module.check_mode), {}
    if params["state"] == "verified":
        return deployment, deployments.verify(deployment, params["rollout"], module.check_mode), {}
    if params["state"] == "current":
        before = deployments.pointed("current")
        moved = deployments.activate(deployment, params["rollout"], module.check_mode)
        lines = [f"current -> {name}\n" if name else "" for name in (before, deployment)]
        return deployment, moved or renamed, {"before": lines[0], "after": lines[1]} if moved else {}
    if module.check_mode and params["missing"]:
        return "", True, {"before": "", "after": f"a deployment, once there is: {', '.join(params['missing'])}\n"}
    inputs = Inputs(params["engine"], params["model"], params["arguments"], params["files"])
    deployment, built, diff = deployments.build(inputs, module.check_mode)
    return deployment, built or renamed, diff


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **DEPLOYMENT_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["built", "current", "verified", "pruned", "absent"],
                "default": "built",
            },
            "id": {"type": "str"},
            "rollout": {"type": "str", "default": ""},
            "missing": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[
            ("state", "built", ["engine", "model"]),
            ("state", "current", ["id"]),
            ("state", "verified", ["id"]),
        ],
        supports_check_mode=True,
    )
    os.umask(0o022)  # whatever the login gave: the service reads what root writes, and nobody else writes
    deployments = Deployments(module.params["root"], module.params["unit_path"])
    try:
        deployment, changed, diff = reach(module, deployments)
    except DeploymentError as error:
        module.fail_json(msg=str(error), argument=error.argument)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or deployments.root}: {error.strerror}. Make room, where the device is full, or"
            " remove what is in the way, and run again. What serves was not changed.",
            argument="root",
        )
    module.exit_json(changed=changed, id=deployment, running=deployments.process()[0], diff=diff)


if __name__ == "__main__":
    main()
