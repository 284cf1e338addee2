"""Lines that actions show while they run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible import constants
from ansible_collections.ik_llama.pi.plugins.plugin_utils import following


@pytest.mark.parametrize(
    ("callback", "stderr"),
    [
        ("default", False),
        ("ik_llama.pi.report", False),
        ("json", True),
        ("ansible.posix.json", True),
        ("ansible.posix.jsonl", True),
    ],
)
def test_progress_is_no_part_of_output_that_programs_read(
    callback: str, stderr: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, bool]] = []

    class Display:
        def display(self, text: str, **given: Any) -> None:
            shown.append((text, given.get("stderr", False)))

    monkeypatch.setattr(following, "Display", Display)
    monkeypatch.setattr(constants, "DEFAULT_STDOUT_CALLBACK", callback)
    following.show("pi-01: 10 %")
    assert shown == [("pi-01: 10 %", stderr)]
