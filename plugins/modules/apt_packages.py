#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin apt_packages."""

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_packages
short_description: Ensure Debian packages are installed
version_added: "0.2.0"
description:
  - Installs those of the named packages that are missing, with M(ansible.builtin.apt). The package lists are updated
    first, and only then, whatever their age (those of a new image are empty).
  - Where the lists cannot be updated, because of one source that cannot be read, the packages are installed with the
    lists as they are, with a warning.
  - Recommended packages are not installed. Another process's lock on the package database is waited for.
  - In check mode it reports what would be installed. That needs no package lists.
  - It is an action plugin; nothing of it is copied to the host.
options:
  name:
    description: Names of packages, without versions. A package that another one provides counts as installed with it.
    type: list
    elements: str
    required: true
  lock_timeout:
    description: How long another process may hold the lock on the package database, in seconds.
    type: int
    default: 600
  policy_rc_d:
    description: As in M(ansible.builtin.apt). V(101) keeps the packages' services from being started.
    type: int
  retries:
    description: How often a failed installation is tried again.
    type: int
    default: 2
  delay:
    description: How long to wait before the next try, in seconds.
    type: int
    default: 10
  test:
    description:
      - Install nothing, and fail where packages are missing and cannot be installed, because the task is not root and
        cannot become it.
    type: bool
    default: false
    version_added: "0.2.0"
attributes:
  check_mode:
    support: full
    description: Reports what would be installed.
notes:
  - A host without apt fails. The message names the packages.
seealso:
  - module: ansible.builtin.apt
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Install HAProxy
  ik_llama.pi.apt_packages:
    name: [haproxy]
    policy_rc_d: 101
  become: true
"""

RETURN = r"""
packages:
  description: The packages that were missing, thus installed (in check mode, those that would be installed).
  type: list
  elements: str
  returned: always
attempts:
  description: How often ansible.builtin.apt was run.
  type: int
  returned: always
"""
