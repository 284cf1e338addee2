# SPDX-License-Identifier: Apache-2.0
"""Filters about the files of a role on a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def differing_files(found: Iterable[Mapping[str, Any]], wanted: Mapping[str, str]) -> list[str]:
    """Return the paths of files that are not as wanted.

    Args:
        found: results of ansible.builtin.stat in a loop over paths. Those that are not wanted are passed over.
        wanted: path to SHA-1 of the file's content, `present` or `absent`.
    """

    def differs(file: Mapping[str, Any], content: str) -> bool:
        if content == "absent" or not file["exists"]:
            return bool(file["exists"]) != (content != "absent")
        return content not in ("present", file.get("checksum"))

    return [str(one["item"]) for one in found if one["item"] in wanted and differs(one["stat"], wanted[one["item"]])]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"differing_files": differing_files}
