#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin bench_compare."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bench_compare
short_description: Compare two reports of benchmarks
version_added: "0.2.0"
description:
  - Returns how the speeds of boards differ between two runs, with a verdict only where the difference is beyond the
    noise. Reads files on the machine that runs Ansible, and changes nothing.
options:
  folder:
    description: Folder with C(reports/RUN/report.json).
    type: path
    required: true
  before:
    description: Name of a run, or path of a C(report.json). Empty means the last but one.
    type: str
    default: ""
  after:
    description: The same of the later one. Empty means the last.
    type: str
    default: ""
  noise_percent:
    description: Percent of the speed that two runs of the same may differ by.
    type: float
    default: 2.0
attributes:
  check_mode:
    support: full
    description: Changes nothing in any case.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Get the differences
  ik_llama.pi.bench_compare:
    folder: ~/.local/share/ik-llama-pi/bench
"""

RETURN = r"""
differences:
  description: >-
    One for each board, settings and kind of speed, as C(host), C(settings), C(kind), C(before), C(after), C(percent),
    C(noise_percent), C(verdict) (V(faster), V(slower), V(same) or V(unknown)) and C(changed), what else is another one.
  type: list
  elements: dict
  returned: success
missing:
  description: Boards that only one of the reports has, and the name of its run.
  type: dict
  returned: success
"""
