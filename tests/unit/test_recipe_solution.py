"""What is shown and written of a recipe that was found."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import load_recipe
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.search import Wanted, find_recipe
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_forecast import board_for_recipe, board_of
from ansible_collections.ik_llama.pi.plugins.plugin_utils.recipe_solution import (
    as_markdown,
    as_text,
    as_yaml,
    plot,
    points,
)
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream
from naming import unnamed

FILES = Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files"
DATA = yaml.safe_load((FILES / "sensitivities/qwen3.5-35b-a3b.yml").read_text())
RESTRICTIONS = yaml.safe_load((FILES / "restrictions/aarch64.yml").read_text())
SERVER = {"context": 16384, "reserve_mib": 1024, "parallel": 1, "ctx_checkpoints": 4, "cache_ram_mib": 0, "recipe": ""}
OTHER = {
    "kind": "recipe",
    "tensor_bytes": 12_218_867_968,
    "bytes_per_token": {"total": 1_586_726_800},
    "estimate": {"score": 0.3664, "perplexity": 8.06},
}


def solution(**changes: Any) -> dict[str, Any]:
    header = read_header(stream(QWEN35_METADATA, qwen35_tensors()))
    board = board_for_recipe([], "", "rpi5-16gb", SERVER)
    wanted = Wanted(board, tokens_per_second=7, restrictions=RESTRICTIONS)
    found = find_recipe(header, DATA, wanted, "a title: with a colon", "an origin")
    forecasts = {"card": OTHER, "mine": OTHER, "bad": {"kind": "recipe", "problem": "x"}}
    return {**found, "name": "mine", "board": board, "mixes": DATA["mixes"], "forecasts": forecasts, **changes}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return solution()


def test_the_file_is_a_recipe_with_what_it_costs_in_its_comment(found: dict[str, Any]) -> None:
    text = as_yaml(found)
    data = yaml.safe_load(text)
    assert data == found["recipe"]
    load_recipe(data)
    comment = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))
    facts = found["found"]
    wanted = (
        f"{facts['tensor_bytes']:,}",
        f"{facts['bytes_per_token']:,}",
        "15,818",
        "16,384",
        "Qwen3.5-35B-A3B",
        "Thireus",
    )
    assert unnamed(comment, *wanted, f"{facts['estimate']['score']:.3f}") == []
    assert max(map(len, text.splitlines())) <= 140


def test_other_recipes_and_published_mixes_of_about_the_size_are_compared(found: dict[str, Any]) -> None:
    rows = points(found)
    assert [row["name"] for row in rows if row["kind"] != "mix"] == ["mine", "card"]
    mixes = [row for row in rows if row["kind"] == "mix"]
    assert 0 < len(mixes) < len(DATA["mixes"])
    assert all(row["perplexity"] for row in mixes)
    assert not any(row["perplexity"] for row in rows if row["kind"] != "mix")


@pytest.mark.parametrize("form", [as_text, as_markdown])
def test_all_of_it_can_be_read(form: Any, found: dict[str, Any]) -> None:
    text = form(found)
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    for rule in found["recipe"]["rules"]:
        assert rule["reason"] in text
    for kind in found["left_out"]:
        assert unnamed(text, kind) == []
    for row in [*points(found), *found["curve"]]:
        assert unnamed(text, f"{row['tensor_bytes']:,.0f}", f"{row['score']:.3f}") == []
    rows = [line.replace("\\|", "") for line in as_markdown(found).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) <= 3


def test_a_recipe_by_bits_says_that_nothing_is_known_of_its_answers(found: dict[str, Any]) -> None:
    by_bits = {**found, "found": {**found["found"], "by_bits": True}}
    assert as_yaml(by_bits) != as_yaml(found)
    assert [row["kind"] for row in points(by_bits)] == ["found", "recipe"]
    assert unnamed(as_yaml(by_bits), "Thireus") == ["Thireus"]


def test_the_plot_has_every_recipe_and_no_date(found: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    text = plot(found)
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")
    shown = " ".join(root.itertext())
    assert unnamed(shown, "mine", "card", "tensors, GB", "score") == []
    assert plot(found) == text


def test_without_matplotlib_there_is_no_plot(found: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert plot(found) == ""


def test_the_board_is_one_of_the_inventory_or_a_kind() -> None:
    boards = [board_of(name, "rpi5-16gb", 0, 0, 0, None, {**SERVER, "context": 4096}) for name in ("pi-01", "pi-02")]
    assert board_for_recipe(boards, "", "rpi5-8gb", SERVER)["name"] == "pi-01"
    assert board_for_recipe(boards, "pi-02", "rpi5-8gb", SERVER)["context"] == 4096
    kind = board_for_recipe(boards, "rpi5-8gb", "rpi5-16gb", SERVER)
    assert (kind["memory_mib"], kind["context"]) == (7909, 16384)
    own = board_for_recipe(boards, "pi-02", "", SERVER, memory_mib=12000, context=8192, bandwidth_gbs=9.5)
    assert (own["memory_mib"], own["context"], own["bandwidth_gbs"]) == (12000, 8192, 9.5)
    with pytest.raises(ValueError) as caught:
        board_for_recipe(boards, "pi-77", "rpi5-16gb", SERVER)
    assert unnamed(caught.value, "board", "pi-77", "rpi5-16gb") == []


def test_filters(plugin: Any, tmp_path: Path, found: dict[str, Any]) -> None:
    filters = plugin("filter", "recipe").FilterModule().filters()
    folder = str(FILES / "restrictions")
    assert filters["restriction_data"]("aarch64", folder) == RESTRICTIONS
    assert filters["restriction_data"]("", folder) == []
    (tmp_path / "mine.yml").write_text("- types: [q8_0]\n  reason: mine\n  source: me\n")
    assert filters["restriction_data"](str(tmp_path / "mine.yml"), folder)[0]["types"] == ["q8_0"]
    for text in ("[", "a: 1", "- 1"):
        (tmp_path / "bad.yml").write_text(text)
        with pytest.raises(AnsibleFilterError) as caught:
            filters["restriction_data"](str(tmp_path / "bad.yml"), folder)
        assert unnamed(caught.value, "gguf_quantize_restrictions") == []
    with pytest.raises(AnsibleFilterError) as caught:
        filters["restriction_data"]("nothing", folder)
    assert unnamed(caught.value, "gguf_quantize_restrictions", "nothing", "aarch64") == []
    assert filters["sensitivity_data"]("", "qwen3.5-35b-a3b", str(FILES / "sensitivities")) == DATA
    assert filters["sensitivity_data"]("", "other", str(FILES / "sensitivities")) == {}
    with pytest.raises(AnsibleFilterError):
        filters["sensitivity_data"]("other", "", str(FILES / "sensitivities"))
    assert filters["recipe_as_yaml"](json.loads(json.dumps(found))) == as_yaml(found)
    board = plugin("filter", "forecast").FilterModule().filters()["forecast_recipe_board"]
    assert board([], "", "rpi5-16gb", SERVER)["memory_mib"] == 15818
    with pytest.raises(AnsibleFilterError):
        board([], "pi-77", "rpi5-16gb", SERVER)
