# SPDX-License-Identifier: Apache-2.0
"""Compare two reports of benchmarks on the machine that runs Ansible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ik_llama.pi.plugins.plugin_utils import bench_report


class ActionModule(ActionBase):
    """Action plugin; its options and results are documented in the module of the same name."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        args = self._task.args
        folder = Path(str(args["folder"])).expanduser().absolute()
        try:
            before, after = bench_report.two_reports(folder, args.get("before") or "", args.get("after") or "")
        except ValueError as error:
            return {"failed": True, "msg": str(error)}
        rows = bench_report.between(before, after, float(args.get("noise_percent", 2)))
        caption = f"{before['run']} and {after['run']}"
        table = bench_report.differences_table(rows, caption)
        missing = bench_report.only_in_one(before, after)
        message = [caption, *bench_report.markdown_table(table)] if rows else [f"{caption}: no board is in both"]
        message += [f"{name}: only in {run}" for name, run in missing.items()]
        return {"changed": False, "differences": rows, "missing": missing, "msg": message}
