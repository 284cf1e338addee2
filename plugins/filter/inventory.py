# SPDX-License-Identifier: Apache-2.0
"""Filter of the playbooks: which hosts a run begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible import __version__, context
from ansible.errors import AnsibleFilterError

#: What is called with one of these runs nothing.
READ_ONLY = ("syntax", "listhosts", "listtasks", "listtags")


#: As in meta/runtime.yml, which Ansible only warns of. Newer ones may change how a connection is asked (transport.py).
OLDEST = (2, 19)
TOO_NEW = (2, 20)


def version_problem(version: str) -> str:
    """Return what is wrong with a version of ansible-core, empty if nothing is."""
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if OLDEST <= found < TOO_NEW:
        return ""
    return (
        f"This is ansible-core {version}, and 2.19 is needed: install it in a virtual environment with"
        " `python3 -m pip install -r requirements.txt`, and run again."
    )


def inventory_hosts(groups: dict[str, list[str]]) -> str:
    """Return the pattern of all hosts. Raise AnsibleFilterError if there is none, or Ansible is too old or too new.

    Without hosts Ansible skips every play, with and without a limit, and ends with 0. Only `hosts` is evaluated then.
    """
    if problem := version_problem(__version__):
        raise AnsibleFilterError(problem)
    if not groups.get("all") and not any(context.CLIARGS.get(option) for option in READ_ONLY):
        raise AnsibleFilterError(
            "The inventory has no host: copy the sample with `cp -R inventory/sample inventory/mine`, write your hosts "
            "into the copy, and run again."
        )
    return "all"


class FilterModule:
    """Offers the filter to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"inventory_hosts": inventory_hosts}
