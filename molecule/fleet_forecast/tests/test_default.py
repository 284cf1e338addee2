"""The forecast is written for people and for programs, and follows the hardware of each board."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from naming import unnamed
from runs import refused

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "forecast"
RECIPES = Path(__file__).resolve().parents[3] / "roles/gguf_quantize/files/recipes"
CONVERGE = "molecule/fleet_forecast/converge.yml"
RECIPE = "playbooks/recipe.yml"


@pytest.fixture(scope="module")
def forecast() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "forecast.json").read_text()))


def test_every_board_and_every_recipe_is_in_it(forecast: dict[str, Any]) -> None:
    assert sorted(name for board in forecast["boards"] for name in board["names"]) == ["pi-01", "pi-02"]
    recipes = {path.stem for path in RECIPES.glob("*.yml")}
    for board in forecast["boards"]:
        assert recipes <= set(board["models"])
        assert all(model["fits"] for model in board["models"].values())


def test_it_can_be_read(forecast: dict[str, Any]) -> None:
    text = (FOLDER / "forecast.md").read_text()
    for model in forecast["models"]:
        assert f"| {model} |" in text


def test_a_board_of_another_kind_has_its_own_memory(run_playbook: Any, tmp_path: Path) -> None:
    before = (FOLDER / "forecast.json").read_text()
    run = run_playbook(
        CONVERGE,
        "-e",
        "fleet_forecast_board=rpi5-8gb",
        "-e",
        f"fleet_forecast_folder={tmp_path}",
        "--limit",
        "pi-02,localhost",
    )
    assert run.returncode == 0, run.stdout
    (board,) = json.loads((tmp_path / "forecast.json").read_text())["boards"]
    assert board["names"] == ["pi-02"]
    assert board["memory_mib"] < json.loads(before)["boards"][0]["memory_mib"]
    assert (FOLDER / "forecast.json").read_text() == before


def test_a_kind_that_is_not_known_is_refused(run_playbook: Any) -> None:
    run = run_playbook(CONVERGE, "-e", "fleet_forecast_board=rpi9")
    assert run.returncode != 0
    assert unnamed(refused(run.stdout), "fleet_forecast_board", "rpi9", "rpi5-16gb") == []


def test_a_recipe_is_found_by_bits_and_can_be_forecast(run_playbook: Any, tmp_path: Path) -> None:
    """The test model has no sensitivities: no tensor of it was ever measured."""
    options = ("-e", f"fleet_forecast_recipe_folder={tmp_path}/recipes", "-e", "tokens_per_second=0")
    refusal = run_playbook(RECIPE, *options)
    assert refusal.returncode != 0
    assert unnamed(refused(refusal.stdout), "gguf_quantize_sensitivities", "by_bits") == []
    checked = run_playbook(RECIPE, *options, "-e", "by_bits=true", "--check")
    assert checked.returncode == 0, checked.stdout
    assert not (tmp_path / "recipes").exists()
    run = run_playbook(RECIPE, *options, "-e", "by_bits=true")
    assert run.returncode == 0, run.stdout
    recipe = tmp_path / "recipes/solved.yml"
    assert yaml.safe_load(recipe.read_text())["rules"]
    assert (tmp_path / "recipes/solved.md").is_file()
    wanted = json.dumps({"fleet_forecast_recipes": [str(recipe)]})
    run = run_playbook(CONVERGE, "-e", wanted, "-e", f"fleet_forecast_folder={tmp_path}")
    assert run.returncode == 0, run.stdout
    forecast = json.loads((tmp_path / "forecast.json").read_text())
    assert forecast["models"]["solved"]["warnings"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("memory=200",), ("memory", 200)),
        (("tokens_per_second=1000000",), ("tokens_per_second",)),
        (("board=pi-77",), ("board", "pi-77", "rpi5-16gb")),
        (("memory=much",), ("fleet_forecast_recipe_memory_mib", "much")),
        (("recipe_name=../x",), ("recipe_name", "../x")),
        (("gguf_quantize_sensitivities=nothing",), ("gguf_quantize_sensitivities", "nothing", "qwen3.5-35b-a3b")),
        (("gguf_quantize_restrictions=nothing",), ("gguf_quantize_restrictions", "nothing", "aarch64")),
    ],
)
def test_a_request_that_cannot_be_met_names_what_to_change(
    run_playbook: Any, tmp_path: Path, options: tuple[str, ...], words: tuple[Any, ...]
) -> None:
    extra = [part for option in (*options, "by_bits=true") for part in ("-e", option)]
    run = run_playbook(RECIPE, "-e", f"fleet_forecast_recipe_folder={tmp_path}/recipes", *extra)
    assert run.returncode != 0
    assert unnamed(refused(run.stdout), *words) == []
    assert not (tmp_path / "recipes").exists()
