# SPDX-License-Identifier: Apache-2.0
"""Facts of hosts, as plays read them to choose their own hosts."""

from __future__ import annotations

from typing import Any


def fact(hostvars: Any, host: str, name: str) -> Any:
    """Return a fact of a host, None where it has none. Before the first play there are no facts at all."""
    return hostvars[host].get(name) if host in hostvars else None
