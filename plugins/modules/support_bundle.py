#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin support_bundle."""

from __future__ import annotations

DOCUMENTATION = r"""
module: support_bundle
short_description: Write a bundle for a bug report
version_added: "0.2.0"
description:
  - Writes what the playbook C(ik_llama.pi.support) has collected from the hosts into one compressed file on the machine
    that runs Ansible. Only its owner can read it.
  - Secrets (values of variables that hold some, tokens, private keys), addresses and host names are replaced by
    placeholders. Equal values get equal placeholders.
  - Of the inventory it contains the names of variables, and no values.
options:
  path:
    description: The file to write. An existing one is overwritten.
    type: path
    required: true
attributes:
  check_mode:
    support: none
    description: The file is written in check mode, too.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Create the bundle
  ik_llama.pi.support_bundle:
    path: support.tar.gz
  run_once: true
"""

RETURN = r"""
path:
  description: The file that was written.
  type: str
  returned: always
files:
  description: Names of the files in it.
  type: list
  elements: str
  returned: always
"""
