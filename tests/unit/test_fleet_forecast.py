"""What fits on which board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import ForecastError, make_forecasts
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_forecast import (
    BOARDS,
    as_markdown,
    as_text,
    board_of,
    fleet_forecast,
)
from ansible_collections.ik_llama.pi.plugins.plugin_utils.recipe_score import sensitivity_data, with_estimates
from gguf_files import QWEN35_METADATA, header_bytes, qwen35_tensors
from naming import unnamed

RECIPES = Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files/recipes"
SENSITIVITIES = RECIPES.parent / "sensitivities"
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
def forecasts(source: Path) -> dict[str, Any]:
    recipes = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(RECIPES.glob("*.yml"))}
    found = make_forecasts(str(source), recipes, ["Q3_K_S", "Q4_K_M"], str(source.parent / "imatrix.dat"))[1]
    return with_estimates(found, "", "qwen3.5-35b-a3b", str(SENSITIVITIES))


def test_recipes_and_file_types_come_from_one_header(forecasts: dict[str, Any]) -> None:
    assert list(forecasts) == [
        *(f"rpi5-16gb-{name}" for name in ("card", "fast", "fine", "table")), "Q3_K_S", "Q4_K_M",
    ]  # fmt: skip
    assert forecasts["rpi5-16gb-card"]["tensor_bytes"] == 12_218_867_968
    assert forecasts["rpi5-16gb-card"]["exact"] is False
    assert forecasts["rpi5-16gb-card"]["least_bits"] == 2.19
    assert forecasts["rpi5-16gb-fast"]["rounded_on_arm"] == []
    assert forecasts["Q3_K_S"]["kind"] == "file type"


def test_recipes_and_file_types_have_a_score_and_a_perplexity(forecasts: dict[str, Any]) -> None:
    found = {name: forecast["estimate"] for name, forecast in forecasts.items()}
    assert found["rpi5-16gb-card"]["score"] == pytest.approx(0.367, abs=5e-3)
    # More bits where the file has more of them.
    assert found["Q4_K_M"]["score"] < found["Q3_K_S"]["score"] < found["rpi5-16gb-card"]["score"]
    assert found["Q4_K_M"]["perplexity"] < found["Q3_K_S"]["perplexity"]
    assert all(estimate["perplexity_error"] > 0 for estimate in found.values() if estimate["perplexity"])
    shown = as_text(fleet_forecast({"location": "s", "bytes": 1}, forecasts, [board("pi-01")]))
    assert unnamed(shown, *(f"{estimate['score']:.3f}" for estimate in found.values())) == []
    assert unnamed(" ".join(shown.split()), "Thireus", "384c1f85b", "Qwen3.5-35B-A3B") == []


def test_without_sensitivities_a_forecast_says_so(forecasts: dict[str, Any], tmp_path: Path) -> None:
    plain = {name: {**forecast} for name, forecast in forecasts.items()}
    for forecast in plain.values():
        del forecast["estimate"]
    unknown = with_estimates(plain, "", "another-model", str(SENSITIVITIES))
    assert not any("estimate" in forecast for forecast in unknown.values())
    assert unnamed(unknown["Q4_K_M"]["no_estimate"], "another-model", "gguf_quantize_sensitivities") == []
    shown = " ".join(as_text(fleet_forecast({"location": "s", "bytes": 1}, unknown, [board("pi-01")])).split())
    assert unnamed(shown, unknown["Q4_K_M"]["no_estimate"]) == []
    other = {"kind": "recipe", "architecture": "llama", "types": {"output.weight": "q6_K"}}
    found = with_estimates({"a": other, "b": {"problem": "x"}}, "qwen3.5-35b-a3b", "", str(SENSITIVITIES))
    assert unnamed(found["a"]["no_estimate"], "Qwen3.5-35B-A3B", "llama") == []
    assert found["b"] == {"problem": "x"}


@pytest.mark.parametrize("text", ["model: x", "[", None])
def test_sensitivities_that_cannot_be_used_are_refused(text: str | None, tmp_path: Path, plugin: Any) -> None:
    path = tmp_path / "mine.yml"
    if text:
        path.write_text(text)
    with pytest.raises(ValueError) as caught:
        sensitivity_data(str(path), "", str(SENSITIVITIES))
    assert unnamed(caught.value, "gguf_quantize_sensitivities", path) == []
    with pytest.raises(AnsibleFilterError):
        plugin("filter", "forecast").FilterModule().filters()["forecast_estimates"]({}, str(path), "", "")


def test_what_cannot_be_forecast_says_why(source: Path) -> None:
    card = yaml.safe_load((RECIPES / "rpi5-16gb-card.yml").read_text())
    forecasts = make_forecasts(str(source), {"card": card, "bad": {"title": "x"}}, ["Q9_Q"], "")[1]
    assert {name: forecast["place"] for name, forecast in forecasts.items()} == {
        "card": "requires_imatrix", "bad": "origin", "Q9_Q": "base",
    }  # fmt: skip
    assert unnamed(forecasts["bad"]["problem"], "origin") == unnamed(forecasts["Q9_Q"]["problem"], "Q9_Q") == []
    shown = " ".join(as_text(fleet_forecast({"location": "s", "bytes": 1}, forecasts, [board("pi-01")])).split())
    for name, forecast in forecasts.items():
        assert set(forecast) == {"kind", "problem", "place"}
        assert unnamed(shown, name, forecast["problem"]) == []
    with pytest.raises(ForecastError) as caught:
        make_forecasts(str(source.parent / "nothing.gguf"), {}, [], "")
    assert (caught.value.argument, caught.value.missing) == ("source", True)
    assert unnamed(caught.value, source.parent / "nothing.gguf") == []


def test_a_16_gb_board_takes_the_recipes_and_an_8_gb_board_does_not(forecasts: dict[str, Any]) -> None:
    fleet = fleet_forecast({"location": "s", "bytes": 1}, forecasts, [board("pi-01"), board("pi-02", "rpi5-8gb")])
    large, small = fleet["boards"]
    assert [found["fits"] for found in large["models"].values()] == [True] * 4 + [False] * 2
    assert not any(found["fits"] or found["longest_context"] for found in small["models"].values())
    refused = {found["verdict"] for found in large["models"].values() if not found["fits"]}
    assert len(refused) == 1
    assert refused.isdisjoint(found["verdict"] for found in large["models"].values() if found["fits"])
    assert {found["verdict"] for found in small["models"].values()} == refused
    card, fast = (large["models"][f"rpi5-16gb-{name}"] for name in ("card", "fast"))
    assert (card["tokens_per_second"], fast["tokens_per_second"]) == (6.4, 7.32)
    assert card["tokens_per_second_full"] < card["tokens_per_second"]
    json.dumps(fleet)


def test_a_context_that_is_too_long(forecasts: dict[str, Any]) -> None:
    fleet = fleet_forecast({"location": "s", "bytes": 1}, forecasts, [board("pi-01", context=262144)])
    found = fleet["boards"][0]["models"]["rpi5-16gb-card"]
    assert (found["fits"], found["longest_context"]) == (False, 129792)
    assert unnamed(found["verdict"], 129792) == []


def test_equal_boards_are_one_entry(forecasts: dict[str, Any]) -> None:
    boards = [board("pi-01"), board("pi-02", context=8192), board("pi-03")]
    fleet = fleet_forecast({"location": "s", "bytes": 1}, forecasts, boards)
    assert [entry["names"] for entry in fleet["boards"]] == [["pi-01", "pi-03"], ["pi-02"]]


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
    assert unnamed(caught.value, "fleet_forecast_board", "rpi4", *BOARDS) == []


def test_a_full_disk_is_in_the_verdict(forecasts: dict[str, Any]) -> None:
    full = board_of("pi-01", "rpi5-16gb", 0, 0, 9000, None, SERVER)
    found = fleet_forecast({"location": "s", "bytes": 1}, forecasts, [full])["boards"][0]["models"]["rpi5-16gb-card"]
    assert (found["fits"], found["disk_fits"]) == (True, False)
    assert unnamed(found["verdict"], 9000) == []


def test_the_forecast_reads_well(forecasts: dict[str, Any]) -> None:
    fleet = fleet_forecast({"location": "q8_0.gguf", "bytes": 36_905_473_984}, forecasts, [board("pi-01")])
    text = as_text(fleet)
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert ["blk.*.attn_qkv.weight", "q4_K", "iq3_k", "iq4_ks", "q8_0"] in [line.split() for line in text.splitlines()]
    chosen = fleet["boards"][0]["models"]["rpi5-16gb-card"]
    assert unnamed(" ".join(text.split()), chosen["sentence"]) == unnamed(chosen["sentence"], 2328) == []
    lines = as_markdown(fleet).splitlines()
    fast, card = (
        next(line for line in lines if line.startswith(f"| rpi5-16gb-{name} |")).strip("| ").split(" | ")
        for name in ("fast", "card")
    )
    assert unnamed(" ".join(fast), "1,372", "3.44") == []
    rounded = len(fleet["models"]["rpi5-16gb-card"]["rounded_on_arm"])
    assert rounded > 0
    assert unnamed(card[-1], rounded) == []
    assert not any(digit in fast[-1] for digit in "0123456789")
    assert all(
        line.count("|") == lines[index - 1].count("|") for index, line in enumerate(lines) if line[:4] in ("|---",)
    )


def test_filters(plugin: Any, tmp_path: Path) -> None:
    filters = plugin("filter", "forecast").FilterModule().filters()
    (tmp_path / "mine.yml").write_text("title: mine")
    (tmp_path / "bad.yml").write_text("title: [")
    assert filters["recipe_files"](["mine"], str(tmp_path)) == {"mine": {"title": "mine"}}
    assert list(filters["recipe_files"]([f"{tmp_path}/mine.yml"], str(RECIPES))) == ["mine"]
    with pytest.raises(AnsibleFilterError) as caught:
        filters["recipe_files"](["bad"], str(tmp_path))
    assert unnamed(caught.value, "bad") == []
    with pytest.raises(AnsibleFilterError) as caught:
        filters["forecast_board"](
            "pi-01", kind="x", memory_mib=0, bandwidth_gbs=0, disk_free_mib=0, asked=None, server={}
        )
    assert unnamed(caught.value, "pi-01", "fleet_forecast_board", "x") == []
    with pytest.raises(AnsibleFilterError) as caught:
        filters["forecast_fleet"]({"a": {"hparams": {}}}, {}, [board("pi-01")])
    assert unnamed(caught.value, "forecast_fleet") == []
