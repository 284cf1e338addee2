"""Plays say themselves what their order and their long tasks depend on; a user's ansible.cfg may say something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
PLAYS = [
    pytest.param(play, id=f"{path.name}: {play['name']}")
    for path in sorted(PLAYBOOKS.glob("*.yml"))
    for play in yaml.safe_load(path.read_text(encoding="utf-8"))
    if "hosts" in play
]


@pytest.mark.parametrize("play", PLAYS)
def test_hosts_go_from_task_to_task_together(play: dict[str, Any]) -> None:
    """`strategy = free` has neither `run_once` nor `any_errors_fatal`: boards go on after another one failed."""
    assert play.get("strategy") == "ansible.builtin.linear"


@pytest.mark.parametrize("play", PLAYS)
def test_a_task_may_take_hours(play: dict[str, Any]) -> None:
    """`task_timeout` would end compilers, downloads and copies."""
    assert play.get("timeout") == 0


@pytest.mark.parametrize("play", PLAYS)
def test_nobody_is_asked_for_facts_that_no_role_reads(play: dict[str, Any]) -> None:
    assert play.get("gather_facts") is False
