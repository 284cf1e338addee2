"""The plan is written for people and for programs, and follows what each board is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import refused

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "plan"
RECIPES = Path(__file__).resolve().parents[3] / "roles/gguf_quantize/files/recipes"
CONVERGE = "molecule/fleet_plan/converge.yml"


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "plan.json").read_text()))


def test_every_board_and_every_recipe_is_in_it(plan: dict[str, Any]) -> None:
    assert sorted(name for board in plan["boards"] for name in board["names"]) == ["pi-01", "pi-02"]
    recipes = {path.stem for path in RECIPES.glob("*.yml")}
    for board in plan["boards"]:
        assert recipes <= set(board["models"])
        assert all(model["fits"] for model in board["models"].values())


def test_it_can_be_read(plan: dict[str, Any]) -> None:
    text = (FOLDER / "plan.md").read_text()
    for model in plan["models"]:
        assert f"| {model} |" in text


def test_a_board_of_another_kind_is_planned_with_its_own_memory(run_playbook: Any, tmp_path: Path) -> None:
    before = (FOLDER / "plan.json").read_text()
    run = run_playbook(
        CONVERGE, "-e", "fleet_plan_board=rpi5-8gb", "-e", f"fleet_plan_folder={tmp_path}", "--limit", "pi-02,localhost"
    )
    assert run.returncode == 0, run.stdout
    (board,) = json.loads((tmp_path / "plan.json").read_text())["boards"]
    assert board["names"] == ["pi-02"]
    assert board["memory_mib"] < json.loads(before)["boards"][0]["memory_mib"]
    assert (FOLDER / "plan.json").read_text() == before


def test_a_kind_that_is_not_known_is_refused(run_playbook: Any) -> None:
    run = run_playbook(CONVERGE, "-e", "fleet_plan_board=rpi9")
    assert run.returncode != 0
    assert unnamed(refused(run.stdout), "fleet_plan_board", "rpi9", "rpi5-16gb") == []
