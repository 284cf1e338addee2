"""What fits on which board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import PlanError, make_plans
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_plan import (
    BOARDS,
    as_markdown,
    as_text,
    board_of,
    fleet_plan,
)
from gguf_files import QWEN35_METADATA, header_bytes, qwen35_tensors
from naming import unnamed

RECIPES = Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files/recipes"
SERVER = {
    "recipe": "rpi5-16gb-card",
    "context": 16384,
    "reserve_mib": 1024,
    "parallel": 1,
    "cache_type_k": "f16",
    "cache_type_v": "f16",
    "ubatch": 512,
    "ctx_checkpoints": 4,
    "cache_ram_mib": 0,
}


def board(name: str, kind: str = "rpi5-16gb", asked: Any = None, **server: Any) -> dict[str, Any]:
    return board_of(name, kind, 0, 0, 0, asked, {**SERVER, **server})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true header of the model, with a hole for its weights."""
    path = tmp_path_factory.mktemp("source") / "q8_0.gguf"
    path.write_bytes(header_bytes(QWEN35_METADATA, qwen35_tensors()))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 36_892_150_272)
    return path


@pytest.fixture(scope="module")
def plans(source: Path) -> dict[str, Any]:
    recipes = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(RECIPES.glob("*.yml"))}
    return make_plans(str(source), recipes, ["Q3_K_S", "Q4_K_M"], str(source.parent / "imatrix.dat"))[1]


def test_recipes_and_file_types_are_planned_from_one_look(plans: dict[str, Any]) -> None:
    assert list(plans) == ["rpi5-16gb-card", "rpi5-16gb-lean", "rpi5-16gb-table", "Q3_K_S", "Q4_K_M"]
    assert plans["rpi5-16gb-card"]["tensor_bytes"] == 12_218_867_968
    assert plans["rpi5-16gb-card"]["exact"] is False
    assert plans["rpi5-16gb-card"]["least_bits"] == 2.19
    assert plans["rpi5-16gb-lean"]["rounded_on_arm"] == []
    assert plans["Q3_K_S"]["kind"] == "file type"


def test_what_cannot_be_planned_says_why(source: Path) -> None:
    card = yaml.safe_load((RECIPES / "rpi5-16gb-card.yml").read_text())
    plans = make_plans(str(source), {"card": card, "bad": {"title": "x"}}, ["Q9_Q"], "")[1]
    assert {name: plan["place"] for name, plan in plans.items()} == {
        "card": "requires_imatrix", "bad": "origin", "Q9_Q": "base",
    }  # fmt: skip
    assert unnamed(plans["bad"]["problem"], "origin") == unnamed(plans["Q9_Q"]["problem"], "Q9_Q") == []
    told = " ".join(as_text(fleet_plan({"location": "s", "bytes": 1}, plans, [board("pi-01")])).split())
    for name, plan in plans.items():
        assert set(plan) == {"kind", "problem", "place"}
        assert unnamed(told, name, plan["problem"]) == []
    with pytest.raises(PlanError) as caught:
        make_plans(str(source.parent / "nothing.gguf"), {}, [], "")
    assert (caught.value.argument, caught.value.missing) == ("source", True)
    assert unnamed(caught.value, source.parent / "nothing.gguf") == []


def test_a_16_gb_board_takes_the_recipes_and_an_8_gb_board_does_not(plans: dict[str, Any]) -> None:
    plan = fleet_plan({"location": "s", "bytes": 1}, plans, [board("pi-01"), board("pi-02", "rpi5-8gb")])
    large, small = plan["boards"]
    assert [found["fits"] for found in large["models"].values()] == [True] * 3 + [False] * 2
    assert not any(found["fits"] or found["longest_context"] for found in small["models"].values())
    refused = {found["verdict"] for found in large["models"].values() if not found["fits"]}
    assert len(refused) == 1
    assert refused.isdisjoint(found["verdict"] for found in large["models"].values() if found["fits"])
    assert {found["verdict"] for found in small["models"].values()} == refused
    card, lean = (large["models"][f"rpi5-16gb-{name}"] for name in ("card", "lean"))
    assert (card["tokens_per_second"], lean["tokens_per_second"]) == (6.4, 6.82)
    assert card["tokens_per_second_full"] < card["tokens_per_second"]
    json.dumps(plan)


def test_a_context_that_is_too_long(plans: dict[str, Any]) -> None:
    plan = fleet_plan({"location": "s", "bytes": 1}, plans, [board("pi-01", context=262144)])
    found = plan["boards"][0]["models"]["rpi5-16gb-card"]
    assert (found["fits"], found["longest_context"]) == (False, 129792)
    assert unnamed(found["verdict"], 129792) == []


def test_equal_boards_are_told_once(plans: dict[str, Any]) -> None:
    boards = [board("pi-01"), board("pi-02", context=8192), board("pi-03")]
    plan = fleet_plan({"location": "s", "bytes": 1}, plans, boards)
    assert [entry["names"] for entry in plan["boards"]] == [["pi-01", "pi-03"], ["pi-02"]]


def test_a_board_is_what_was_set_or_found_or_its_kind() -> None:
    asked = {"model": "Raspberry Pi 5 Model B Rev 1.1", "memory_mib": 16218, "disk_free_mib": 9000}
    assert board("pi-01")["memory_mib"] == BOARDS["rpi5-16gb"]["memory_mib"]
    found = board("pi-01", asked=asked)
    assert (found["memory_mib"], found["disk_free_mib"], found["asked"]) == (16218, 9000, True)
    assert found["kind"].startswith("Raspberry Pi 5")
    declared = board_of("pi-01", "rpi5-16gb", 12000, 17.1, 500, asked, SERVER)
    assert (declared["memory_mib"], declared["bandwidth_gbs"], declared["disk_free_mib"]) == (12000, 17.1, 500)
    with pytest.raises(ValueError) as caught:
        board("pi-01", "rpi4")
    assert unnamed(caught.value, "fleet_plan_board", "rpi4", *BOARDS) == []


def test_a_full_disk_is_told(plans: dict[str, Any]) -> None:
    full = board_of("pi-01", "rpi5-16gb", 0, 0, 9000, None, SERVER)
    found = fleet_plan({"location": "s", "bytes": 1}, plans, [full])["boards"][0]["models"]["rpi5-16gb-card"]
    assert (found["fits"], found["disk_fits"]) == (True, False)
    assert unnamed(found["verdict"], 9000) == []


def test_the_plan_reads_well(plans: dict[str, Any]) -> None:
    plan = fleet_plan({"location": "q8_0.gguf", "bytes": 36_905_473_984}, plans, [board("pi-01")])
    text = as_text(plan)
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert ["blk.*.attn_qkv.weight", "q4_K", "iq4_ks", "q8_0"] in [line.split() for line in text.splitlines()]
    chosen = plan["boards"][0]["models"]["rpi5-16gb-card"]
    assert unnamed(" ".join(text.split()), chosen["sentence"]) == unnamed(chosen["sentence"], 2328) == []
    lines = as_markdown(plan).splitlines()
    lean, card = (
        next(line for line in lines if line.startswith(f"| rpi5-16gb-{name} |")).strip("| ").split(" | ")
        for name in ("lean", "card")
    )
    assert unnamed(" ".join(lean), "1,481", "4.26") == []
    rounded = len(plan["models"]["rpi5-16gb-card"]["rounded_on_arm"])
    assert rounded > 0
    assert unnamed(card[-1], rounded) == []
    assert not any(digit in lean[-1] for digit in "0123456789")
    assert all(
        line.count("|") == lines[index - 1].count("|") for index, line in enumerate(lines) if line[:4] in ("|---",)
    )


def test_filters(plugin: Any, tmp_path: Path) -> None:
    filters = plugin("filter", "fleet_plan").FilterModule().filters()
    (tmp_path / "mine.yml").write_text("title: mine")
    (tmp_path / "bad.yml").write_text("title: [")
    assert filters["recipe_files"](["mine"], str(tmp_path)) == {"mine": {"title": "mine"}}
    assert list(filters["recipe_files"]([f"{tmp_path}/mine.yml"], str(RECIPES))) == ["mine"]
    with pytest.raises(AnsibleFilterError) as caught:
        filters["recipe_files"](["bad"], str(tmp_path))
    assert unnamed(caught.value, "bad") == []
    with pytest.raises(AnsibleFilterError) as caught:
        filters["planned_board"](
            "pi-01", kind="x", memory_mib=0, bandwidth_gbs=0, disk_free_mib=0, asked=None, server={}
        )
    assert unnamed(caught.value, "pi-01", "fleet_plan_board", "x") == []
    with pytest.raises(AnsibleFilterError) as caught:
        filters["planned_fleet"]({"a": {"hparams": {}}}, {}, [board("pi-01")])
    assert unnamed(caught.value, "planned_fleet") == []
