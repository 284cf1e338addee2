"""Which files of a host are not as wanted."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.filter.files import differing_files


def found(path: str, checksum: str | None = None, exists: bool = True) -> dict[str, Any]:
    return {"item": path, "stat": {"exists": exists, **({"checksum": checksum} if checksum else {})}}


@pytest.mark.parametrize(
    ("file", "content", "differs"),
    [
        (found("/x", "aa"), "aa", False),
        (found("/x", "aa"), "bb", True),
        (found("/x"), "present", False),
        (found("/x"), "absent", True),
        (found("/x", exists=False), "absent", False),
        (found("/x", exists=False), "present", True),
        (found("/x", exists=False), "aa", True),
    ],
)
def test_a_file_is_as_wanted_or_not(file: dict[str, Any], content: str, differs: bool) -> None:
    assert differing_files([file], {"/x": content}) == ["/x"] * differs


def test_files_that_nobody_wants_are_passed_over() -> None:
    assert differing_files([found("/y", exists=False), found("/x", "aa")], {"/x": "aa"}) == []
