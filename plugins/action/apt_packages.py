# SPDX-License-Identifier: Apache-2.0
"""Install missing Debian packages; report in check mode what would be installed."""

from __future__ import annotations

import re
import shlex
import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.ik_llama.pi.plugins.plugin_utils import following

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?")
INSTALLED = "installed"
WITHOUT_APT = 66  # an exit code


def own_names(table: str) -> set[str]:
    """Return the installed packages among lines of `status<TAB>package<TAB>package:architecture`."""
    rows = (line.split("\t") for line in table.splitlines())
    return {name for status, *names in rows if status == INSTALLED for name in names}


def provided_names(table: str) -> set[str]:
    """Return what installed packages provide, from lines of `status<TAB>name (= version), name, ...`."""
    rows = (line.partition("\t") for line in table.splitlines())
    return {
        entry.split()[0]
        for status, _tab, provided in rows
        if status == INSTALLED
        for entry in provided.split(",")
        if entry.split()
    }


class ActionModule(ActionBase):
    """Action plugin; its options and results are documented in the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _checked, args = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "list", "elements": "str", "required": True},
                "lock_timeout": {"type": "int", "default": 600},
                "policy_rc_d": {"type": "int"},
                "retries": {"type": "int", "default": 2},
                "delay": {"type": "int", "default": 10},
                "test": {"type": "bool", "default": False},
            }
        )
        host = self._task.delegate_to or task_vars.get("inventory_hostname", "")
        names = list(dict.fromkeys(args["name"]))
        result: dict[str, Any] = {"changed": False, "packages": [], "attempts": 0}
        wrong = [name for name in names if not NAME.fullmatch(name)]
        if wrong:
            return {
                **result,
                "failed": True,
                "msg": f"{host}: not the name of a package (name = {', '.join(wrong)})."
                " Write it without version. Nothing was installed.",
            }
        if not names:
            return result
        missing = self._missing(names)
        if missing is None:
            return {
                **result,
                "failed": True,
                "msg": f"{host}: apt is not available. Install what these packages contain, or use a host with"
                f" Debian, Ubuntu or Raspberry Pi OS: {', '.join(names)}. Nothing was installed.",
            }
        result["packages"] = missing
        if not missing:
            return result
        if args["test"]:
            return {**result, **self._tested(missing, host)}
        if self._task.check_mode:
            message = f"{host}: would install {', '.join(missing)}."
            following.show(message)
            return {**result, "changed": True, "msg": message}
        return {**self._install(missing, args, task_vars, result), "packages": missing}

    def _tested(self, missing: list[str], host: str) -> dict[str, Any]:
        """Return why the missing packages cannot be installed, nothing if they can."""
        try:
            asked = self._low_level_execute_command("id -u")
            words = str(asked.get("stdout", "")).split()
            if words and words[-1] == "0":
                return {}
            reason = "it is not root, and does not become root (ansible_become)"
        except AnsibleError as error:
            reason = str(error.message).strip().rstrip(".")
        names = " ".join(missing)
        return {
            "failed": True,
            "msg": f"{host}: Debian packages are missing, and the account of the login cannot install them: {reason}."
            f" Install them there with: sudo apt-get install {names}. Or give Ansible the password of sudo"
            " (--ask-become-pass, ansible_become_password). Then run again. Nothing was changed.",
        }

    def _missing(self, names: list[str]) -> list[str] | None:
        """Return those packages that are not installed, None on a host without apt."""
        found = self._low_level_execute_command(
            f"command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || exit {WITHOUT_APT}; "
            f"dpkg-query --show --showformat='${{db:Status-Status}}\\t${{Package}}\\t${{Package}}:${{Architecture}}\\n'"
            f" -- {shlex.join(names)} 2>/dev/null; exit 0",
            sudoable=False,
        )
        if found["rc"] == WITHOUT_APT:
            return None
        if found["rc"] != 0:
            raise AnsibleActionFail(f"cannot ask for the installed packages: {found['stderr'] or found['stdout']}")
        installed = own_names(found["stdout"])
        missing = [name for name in names if name not in installed]
        if missing:
            found = self._low_level_execute_command(
                "dpkg-query --show --showformat='${db:Status-Status}\\t${Provides}\\n'", sudoable=False
            )
            installed = provided_names(found["stdout"])
        return [name for name in missing if name not in installed]

    def _install(
        self, missing: list[str], args: dict[str, Any], task_vars: dict[str, Any], result: dict[str, Any]
    ) -> dict[str, Any]:
        """Run ansible.builtin.apt until it succeeds or the retries are used up, at last with the lists as they are.

        One source that cannot be read (a key that has expired, a server that is gone) makes the update of all fail.
        Most often it is a foreign one, which has none of these packages.
        """
        apt: dict[str, Any] = {
            "name": missing,
            "update_cache": True,
            "update_cache_retries": 1,  # these retries are ours
            "install_recommends": False,
            "lock_timeout": args["lock_timeout"],
        }
        if args["policy_rc_d"] is not None:
            apt["policy_rc_d"] = args["policy_rc_d"]
        for attempt in range(1, args["retries"] + 2):
            if attempt > 1:
                time.sleep(args["delay"])
            result = self._execute_module("ansible.builtin.apt", module_args=apt, task_vars=task_vars)
            result["attempts"] = attempt
            if not result.get("failed"):
                return result
        last = self._execute_module(
            "ansible.builtin.apt", module_args={**apt, "update_cache": False}, task_vars=task_vars
        )
        if last.get("failed"):
            return result
        warning = f"installed {', '.join(missing)} without new package lists: {result.get('msg', '')}"
        return {**last, "attempts": result["attempts"] + 1, "warnings": [*last.get("warnings", []), warning]}
