# SPDX-License-Identifier: Apache-2.0
"""Write the report of a benchmark on the machine that runs Ansible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import write_file
from ansible_collections.ik_llama.pi.plugins.plugin_utils import bench_report
from ansible_collections.ik_llama.pi.plugins.plugin_utils.roles import PROJECT

TEMPLATE = PROJECT / "roles/llama_bench/templates/report.html.j2"


class ActionModule(ActionBase):
    """Action plugin; its options and results are documented in the module of the same name."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        args = self._task.args
        folder = Path(str(args["folder"])).expanduser().absolute()
        report = bench_report.make_report(
            folder, args["run"], args["boards"], args.get("failures") or {}, float(args.get("noise_percent", 2))
        )
        where = folder / "reports" / args["run"]
        measured = bool(report["boards"])
        if measured and not self._task.check_mode:
            try:
                write(where, report)
            except OSError as error:
                return {"failed": True, "msg": f"the report cannot be written to {where}: {error}. Make room there."}
        message = bench_report.sentences(report)
        message.append(
            f"The report: {where}/report.html" if measured else "Without a board that was measured there is none."
        )
        found = {"path": str(where) if measured else "", "missing": report["missing"]}
        return {"changed": measured, **found, "msg": message}


def write(where: Path, report: dict[str, Any]) -> None:
    """Write the report in all of its forms."""
    where.mkdir(parents=True, exist_ok=True)
    write_file(where / bench_report.REPORT, json.dumps(report) + "\n")
    write_file(where / "report.md", bench_report.as_markdown(report))
    write_file(where / "ai-benchmarks.md", bench_report.as_export(report))
    write_file(where / "report.html", bench_report.as_html(report, TEMPLATE))
