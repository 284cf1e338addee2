# SPDX-License-Identifier: Apache-2.0
"""Filters about the fleet as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils import fleet, fleet_status
from ansible_collections.ik_llama.pi.plugins.plugin_utils.hosts import fact


def hosts_with_changes(hosts: Iterable[str], hostvars: Any, plan: str, key: str = "change") -> list[str]:
    """Return the hosts whose plan has a change, and those that have no plan yet.

    hosts: names. hostvars: Ansible's. plan: name of the fact, for example `pi_base_plan`. key: what is true in it.
    """
    plans = {host: fact(hostvars, host, plan) for host in hosts}
    return [host for host, found in plans.items() if not found or found.get(key)]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "hosts_with_changes": hosts_with_changes,
            "hosts_with_former_keys": fleet.hosts_with_former_keys,
            "rolling_batches": fleet.rolling_batches,
            "rolling_failures": fleet.rolling_failures,
            "serve_summary": fleet.serve_summary,
            "fleet_status": fleet.fleet_status,
            "changes_text": fleet_status.changes_text,
            "status_text": fleet_status.status_text,
        }
