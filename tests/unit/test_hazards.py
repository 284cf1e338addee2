"""Which known hazards hold for a release, and what they and the self-test say of a model on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import ROUNDED_ON_ARM
from ansible_collections.ik_llama.pi.plugins.plugin_utils import hazards
from naming import unnamed

FILE = Path(__file__).resolve().parents[2] / "roles/llama_server/files/hazards.yml"
KNOWN = yaml.safe_load(FILE.read_text(encoding="utf-8"))
RELEASE: dict[str, Any] = {
    "committed": "2026-08-15T09:30:00+03:00",
    "architecture": "aarch64",
    "options": {"GGML_NATIVE": "OFF", "GGML_ARCH_FLAGS": "-mcpu=native"},
}
MODEL = {"a": "q8_0", "b": "q8_0", "c": "q6_K", "d": "f32", "e": "q4_0"}


def ids(**changes: Any) -> list[str]:
    return [entry["id"] for entry in hazards.of_release(KNOWN, {**RELEASE, **changes})]


def shown(self_test: dict[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
    release = {**RELEASE, "self_test": self_test} if self_test else RELEASE
    types = options.pop("types", MODEL)
    return hazards.of_deployment(KNOWN, {**release, **options.pop("release", {})}, types, **options)


def measured(**errors: float) -> dict[str, Any]:
    return {"types": {kind: {"error": error, "ok": error <= 0.1} for kind, error in errors.items()}, "limit": 0.1}


def test_the_file_is_right() -> None:
    assert hazards.problems(KNOWN) == []


def test_what_may_be_refused_by_itself_is_told_apart() -> None:
    assert {entry["id"]: entry["effect"] for entry in KNOWN} == {
        "aarch64-fp16-scales": "precision",
        "slots-mix-recurrent-state": "leak",
        "aarch64-native-without-dot-product": "outage",
    }
    assert {found["effect"] for found in shown()} == {"precision"}


def test_the_planner_counts_the_same_types_as_rounded() -> None:
    (entry,) = (entry for entry in KNOWN if entry["id"] == "aarch64-fp16-scales")
    assert set(entry["tensor_types"]) == ROUNDED_ON_ARM


def test_what_is_wrong_with_the_data_is_told() -> None:
    good = KNOWN[0]
    wrong = {**good, "id": "x", "until": "2026-09-22", "tensor_types": "q8_0", "colour": "red", "effect": "bad"}
    del wrong["advice"]
    shown = [
        ("x", "advice"),
        ("x", "colour"),
        ("x", "tensor_types", "list"),
        ("x", "effect"),
        ("x", "until"),
        (4,),
        (good["id"],),
    ]
    found = hazards.problems([good, good, wrong, 1])
    assert len(found) == len(shown)
    assert [unnamed(problem, *names) for problem, names in zip(found, shown)] == [[]] * len(shown)
    assert len(hazards.problems({})) == 1


@pytest.mark.parametrize(
    ("committed", "found"),
    [
        ("2026-04-15T00:00:00Z", ["aarch64-fp16-scales", "slots-mix-recurrent-state"]),
        ("2026-08-06T01:00:00+03:00", ["aarch64-fp16-scales", "slots-mix-recurrent-state"]),  # in UTC the day before
        ("2026-08-06T00:00:00Z", ["aarch64-fp16-scales"]),
        ("2026-09-22T12:00:00+0200", ["aarch64-fp16-scales"]),
        ("2026-09-23T00:00:00Z", []),
        ("", ["aarch64-fp16-scales", "slots-mix-recurrent-state"]),
    ],
)
def test_hazards_of_a_commit(committed: str, found: list[str]) -> None:
    assert ids(committed=committed) == found


def test_hazards_of_an_architecture_and_of_options() -> None:
    assert ids(architecture="x86_64") == []
    native = {"committed": "2026-05-01T00:00:00Z", "options": {"GGML_NATIVE": "ON"}}
    assert "aarch64-native-without-dot-product" in ids(**native)
    assert "aarch64-native-without-dot-product" not in ids(**{**native, "architecture": "x86_64"})
    assert "aarch64-native-without-dot-product" not in ids(**{**native, "committed": RELEASE["committed"]})


def test_a_beginning_counts_too() -> None:
    entry = {**KNOWN[0], "from": "2026-05-01T00:00:00Z"}
    assert hazards.of_release([entry], {**RELEASE, "committed": "2026-04-30T23:59:59Z"}) == []
    assert hazards.of_release([entry], RELEASE) == [entry]


def test_a_known_hazard_that_was_not_measured_is_an_objection() -> None:
    (one,) = shown()
    assert (one["id"], one["state"], one["objection"]) == ("aarch64-fp16-scales", "known", True)
    assert one["types"] == ["q4_0", "q8_0"]
    assert one["errors"] == {}
    assert unnamed(one["text"], "q8_0", 2, "q4_0", 1, KNOWN[0]["fixed_by"]) == []
    assert one["text"].endswith(KNOWN[0]["advice"])


def test_a_measured_hazard_has_its_number() -> None:
    worst, rest = shown(measured(q8_0=0.6125, q6_K=0.01))
    assert (worst["state"], worst["types"], worst["objection"]) == ("measured", ["q8_0"], True)
    assert worst["errors"] == {"q8_0": 0.6125}
    assert unnamed(worst["text"], "q8_0", "0.61", "0.1") == []
    assert (rest["state"], rest["types"], rest["errors"]) == ("known", ["q4_0"], {})


def test_a_known_hazard_that_was_measured_as_sound_is_told_and_no_objection() -> None:
    (one,) = shown(measured(q8_0=0.001, q4_0=0.002))
    assert (one["state"], one["objection"], one["types"]) == ("doubtful", False, ["q4_0", "q8_0"])
    assert one["errors"] == {"q8_0": 0.001, "q4_0": 0.002}
    assert unnamed(one["text"], "q8_0", "0.001", "q4_0", "0.002", "0.1") == []


def test_what_is_off_without_a_known_hazard_is_an_objection() -> None:
    (one,) = shown(measured(q6_K=0.5), release={"architecture": "x86_64"})
    assert (one["id"], one["state"], one["types"], one["objection"]) == ("self-test", "measured", ["q6_K"], True)
    assert unnamed(one["text"], "q6_K", 1) == []


def test_types_that_the_model_has_not_do_not_matter() -> None:
    assert shown(measured(q8_0=0.6, iq4_k=0.5), types=["q6_K", "iq2_ks", "f32"]) == []


def test_slots_matter_to_hybrid_models() -> None:
    old = {"committed": "2026-04-15T00:00:00Z"}
    hybrid: dict[str, Any] = {"types": ["q6_K"], "release": old, "model_architecture": "qwen35moe"}
    assert shown(**hybrid, parallel=1) == []
    (one,) = shown(**hybrid, parallel=2)
    assert (one["id"], one["state"], one["types"], one["objection"]) == ("slots-mix-recurrent-state", "known", [], True)
    assert unnamed(one["text"], "llama_server_parallel", 1) == []
    assert shown(**{**hybrid, "model_architecture": "llama"}, parallel=2) == []
    assert shown(**{**hybrid, "release": {}}, parallel=2) == []


def test_the_filter(plugin: Callable[[str, str], ModuleType]) -> None:
    deployment_hazards = plugin("filter", "hazards").FilterModule().filters()["deployment_hazards"]
    (one,) = deployment_hazards(KNOWN, RELEASE, MODEL, parallel=4)
    assert one["types"] == ["q4_0", "q8_0"]
    with pytest.raises(AnsibleFilterError) as caught:
        deployment_hazards({}, RELEASE, MODEL)
    assert unnamed(caught.value, "llama_server_hazards", *hazards.problems({})) == []
    with pytest.raises(AnsibleFilterError) as caught:
        deployment_hazards(KNOWN, {"committed": "yesterday"}, MODEL)
    assert unnamed(caught.value, "deployment_hazards", "yesterday") == []
