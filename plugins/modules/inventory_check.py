#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin inventory_check."""

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
short_description: Check the inventory without reaching a host
version_added: "0.1.0"
description:
  - Checks names of groups and variables, the types of values against the specifications of the roles, addresses,
    recipes, the options of llama-server, and its memory where the model is known.
  - Fails with all problems at once, each with the hosts that have it, and with file and line where a variable is set.
  - It is an action plugin and runs on the machine that runs Ansible. No host is reached.
options:
  roles:
    description: The roles that run on the hosts of a group, by its name.
    type: dict
    required: true
  needed:
    description: Groups that must have hosts, and what these do, by their names.
    type: dict
    required: true
  optional:
    description: Groups that may have hosts.
    type: list
    elements: str
    required: true
  playbook_variables:
    description: Variables that playbooks read, and no role.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    description: It changes nothing.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Check the inventory
  ik_llama.pi.inventory_check:
    roles:
      pis: [pi_base, llama_server]
    needed:
      pis: serve
    optional: [gateways]
    playbook_variables: [keep]
"""

RETURN = r"""
msg:
  description: What was found, line by line.
  type: raw
  returned: always
problems:
  description: What is wrong.
  type: list
  elements: dict
  returned: always
  contains:
    hosts:
      description: The hosts that have it. Empty for what concerns no single host.
      type: list
      elements: str
    text:
      description: A sentence.
      type: str
notes:
  description: What may be intended. Contains the same as RV(problems).
  type: list
  elements: dict
  returned: always
"""
