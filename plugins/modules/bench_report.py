#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin bench_report."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bench_report
short_description: Write the report of a benchmark
version_added: "0.2.0"
description:
  - Reads the results that were copied to the machine that runs Ansible, and writes C(report.html), C(report.md),
    C(report.json) and C(ai-benchmarks.md) (the boards in the form of the tables of geerlingguy/ai-benchmarks).
  - The page needs no network. Its plots need matplotlib; without it the page has tables alone.
options:
  folder:
    description: Folder with C(results/BOARD/RUN.json). The report is written to C(reports/RUN/).
    type: path
    required: true
  run:
    description: Name of the run, UTC time like C(20260101T120000Z).
    type: str
    required: true
  boards:
    description: Boards that were to be measured. Those without a result are reported as missing.
    type: list
    elements: str
    required: true
  failures:
    description: Why boards were not measured, by name.
    type: dict
  noise_percent:
    description: Percent of the speed that two runs of the same may differ by.
    type: float
    default: 2.0
attributes:
  check_mode:
    support: full
    description: Writes nothing.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Create the report
  ik_llama.pi.bench_report:
    folder: ~/.local/share/ik-llama-pi/bench
    run: 20260101T120000Z
    boards: [pi-01, pi-02]
  run_once: true
"""

RETURN = r"""
path:
  description: Folder of the report, empty where no board was measured and so none is written.
  type: str
  returned: success
missing:
  description: C(name) and C(reason) of each board that was not measured.
  type: list
  elements: dict
  returned: success
"""
