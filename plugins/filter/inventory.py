# SPDX-License-Identifier: Apache-2.0
"""Filter of the playbooks: which hosts a run begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible import context
from ansible.errors import AnsibleFilterError

#: What is called with one of these runs nothing.
READ_ONLY = ("syntax", "listhosts", "listtasks", "listtags")


def inventory_hosts(groups: dict[str, list[str]]) -> str:
    """Return the pattern of all hosts. Raise AnsibleFilterError if the inventory has none.

    Without hosts Ansible skips every play, with and without a limit, and ends with 0. Only `hosts` is evaluated then.
    """
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
