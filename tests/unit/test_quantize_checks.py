"""The variables of gguf_quantize: each problem names its variable and the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.quantize_checks import (
    quantize_problems,
    recipe_file,
    shipped_recipes,
)
from naming import unnamed

RECIPES = str(Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files/recipes")
GOOD: dict[str, Any] = {
    "name": "qwen3.5-35b-a3b",
    "recipe": "rpi5-16gb-card",
    "source_sha256": "",
    "imatrix_sha256": "",
    "hub": "https://huggingface.co",
    "connections": 8,
    "threads": 0,
}


def test_the_defaults_have_no_problem() -> None:
    assert quantize_problems(GOOD, RECIPES) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipe", "rpi5-16gb-fine"),
        ("source_sha256", "aB" * 32),
        ("source_sha256", "a" * 64 + "  " + "b" * 64),
        ("imatrix_sha256", "F" * 64),
        ("hub", "http://127.0.0.1:8080/"),
        ("connections", "16"),
        ("threads", "4"),
    ],
)
def test_what_may_be_set(name: str, value: Any) -> None:
    assert quantize_problems({**GOOD, name: value}, RECIPES) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", "../up"),
        ("name", "a b"),
        ("recipe", "none"),
        ("recipe", "/nowhere/none.yml"),
        ("source_sha256", "abc"),
        ("source_sha256", "a" * 64 + "," + "b" * 64),
        ("imatrix_sha256", "a" * 64 + " " + "b" * 64),
        ("hub", "huggingface.co"),
        ("hub", "https://huggingface.co/models"),
        ("connections", 0),
        ("connections", 17),
        ("connections", "many"),
        ("threads", -1),
        ("threads", "all"),
    ],
)
def test_each_problem_names_variable_and_value(name: str, value: Any) -> None:
    (problem,) = quantize_problems({**GOOD, name: value}, RECIPES)
    assert unnamed(problem, f"gguf_quantize_{name}") == []
    assert repr(value) in problem


def test_a_recipe_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("title: mine")
    (tmp_path / "0123456789ab.yml").write_text("title: like an ID")
    assert quantize_problems({**GOOD, "recipe": f"{tmp_path}/mine.yml"}, RECIPES) == []
    (problem,) = quantize_problems({**GOOD, "recipe": f"{tmp_path}/0123456789ab.yml"}, RECIPES)
    assert unnamed(problem, "gguf_quantize_recipe") == []
    assert recipe_file("mine", str(tmp_path)) == recipe_file(f"{tmp_path}/mine.yml", RECIPES)


def test_an_unknown_recipe_is_answered_with_those_that_exist() -> None:
    (problem,) = quantize_problems({**GOOD, "recipe": "none"}, RECIPES)
    assert unnamed(problem, *shipped_recipes(RECIPES)) == []


def test_all_problems_at_once() -> None:
    assert len(quantize_problems({**GOOD, "name": "", "hub": "", "threads": -1}, RECIPES)) == 3
