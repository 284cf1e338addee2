from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ik_llama.pi.plugins.module_utils.engine.selftest_models import probe_plan
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import (
    bits,
    bytes_per_token,
    fit,
    hyperparameters,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header, Tensor, read_header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import (
    Prediction,
    Recipe,
    RecipeError,
    differences,
    effective,
    groups,
    load_recipe,
    predict,
    predict_type,
    quantizable,
    quantize_argv,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.score import load_sensitivities, score
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.solver import (
    Limits,
    load_restrictions,
    make_problem,
    solve_freely,
)
from ansible_collections.ik_llama.pi.plugins.plugin_utils.roles import default
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream
from naming import unnamed

RECIPES = Path(__file__).resolve().parents[2] / "roles/gguf_quantize/files/recipes"
CARD = yaml.safe_load((RECIPES / "rpi5-16gb-card.yml").read_text())
IMATRIX = Imatrix(510, 100, "calibration.txt")


def card(**changes: Any) -> Recipe:
    return load_recipe({**copy.deepcopy(CARD), **changes})


def qwen35(kind: str = "q8_0") -> Header:
    return read_header(stream(QWEN35_METADATA, qwen35_tensors(kind)))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_gives_reasons(path: Path) -> None:
    recipe = load_recipe(yaml.safe_load(path.read_text()))
    assert all(rule.reason for rule in recipe.rules + recipe.engine)


def test_card_on_true_shapes_gives_the_known_size_and_types() -> None:
    source = qwen35()
    assert len(source.tensors) == 733
    result = predict(card(), source, IMATRIX, "imatrix.dat")
    assert result.tensor_bytes == 12_218_867_968
    assert {name: list(row) for name, row in groups(result.tensors).items()} == {
        "token_embd.weight": ["q6_K"],
        "output.weight": ["q6_K"],
        "output_norm.weight": ["f32"],
        "blk.*.attn_norm.weight": ["f32"],
        "blk.*.post_attention_norm.weight": ["f32"],
        "blk.*.attn_q.weight": ["q4_K"],
        "blk.*.attn_k.weight": ["q4_K"],
        "blk.*.attn_qkv.weight": ["q4_K"],
        "blk.*.attn_v.weight": ["iq4_k"],
        "blk.*.attn_output.weight": ["q8_0"],
        "blk.*.attn_gate.weight": ["iq2_ks"],
        "blk.*.attn_q_norm.weight": ["f32"],
        "blk.*.attn_k_norm.weight": ["f32"],
        "blk.*.ssm_out.weight": ["iq2_ks"],
        "blk.*.ssm_alpha.weight": ["iq2_ks"],
        "blk.*.ssm_beta.weight": ["iq2_ks"],
        "blk.*.ssm_conv1d.weight": ["f32"],
        "blk.*.ssm_norm.weight": ["f32"],
        "blk.*.ssm_dt.bias": ["f32"],
        "blk.*.ssm_a": ["f32"],
        "blk.*.ffn_gate_inp.weight": ["f32"],
        "blk.*.ffn_gate_inp_shexp.weight": ["f32"],
        "blk.*.ffn_gate_shexp.weight": ["q8_0"],
        "blk.*.ffn_up_shexp.weight": ["q8_0"],
        "blk.*.ffn_down_shexp.weight": ["q8_0"],
        "blk.*.ffn_gate_exps.weight": ["iq4_ks", "iq2_ks"],
        "blk.*.ffn_up_exps.weight": ["iq4_ks", "iq2_ks"],
        "blk.*.ffn_down_exps.weight": ["iq4_ks", "iq2_ks"],
    }
    assert groups(result.tensors)["blk.*.ffn_up_exps.weight"]["iq4_ks"]["tensors"] == 8
    assert hyperparameters(source)["elements"] == pytest.approx(34.66e9, rel=1e-3)


def shipped(name: str) -> Recipe:
    return load_recipe(yaml.safe_load((RECIPES / f"{name}.yml").read_text()))


NAMES = sorted(path.stem for path in RECIPES.glob("*.yml"))


def test_the_table_of_the_card_would_be_larger() -> None:
    result = predict(shipped("rpi5-16gb-table"), qwen35(), IMATRIX, "i")
    assert result.tensor_bytes == 12_964_776_448
    types = {tensor.name: tensor.type for tensor in result.tensors}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up_shexp"):
        assert types[f"blk.3.{name}.weight"] == "q8_0"
    for name in ("attn_qkv", "attn_gate", "ssm_out", "ssm_alpha", "ssm_beta"):
        assert types[f"blk.0.{name}.weight"] == "q8_0"


SENSITIVITIES = load_sensitivities(yaml.safe_load((RECIPES.parent / "sensitivities/qwen3.5-35b-a3b.yml").read_text()))
RESTRICTIONS = load_restrictions(yaml.safe_load((RECIPES.parent / "restrictions/aarch64.yml").read_text()))
# The recipe that rpi5-16gb-fast replaced: bytes of tensors, bytes read for a token, score.
LEAN = (12_129_888_768, 1_481_229_892, 0.1954)


def costs(recipe: Recipe) -> tuple[int, int, float]:
    """Bytes of tensors, bytes read for a token, and score."""
    source = qwen35()
    found = predict(recipe, source, IMATRIX, "i")
    types = {tensor.name: tensor.type for tensor in found.tensors}
    read = bytes_per_token(found.tensors, hyperparameters(source))["total"]
    return found.tensor_bytes, read, score(types, source.architecture, SENSITIVITIES)


@pytest.mark.parametrize(
    ("name", "size", "read", "part"),
    [
        ("rpi5-16gb-fast", 12_129_323_520, 1_371_973_188, 0.5),
        ("rpi5-16gb-fine", 13_488_796_160, 1_584_238_084, 0.3),
    ],
)
def test_a_recipe_that_was_found_has_less_than_a_part_of_the_card_s_score(
    name: str, size: int, read: int, part: float
) -> None:
    card_size, card_read, card_score = costs(card())
    assert (card_size, card_read) == (12_218_867_968, 1_586_726_800)
    found = costs(shipped(name))
    assert found[:2] == (size, read)
    assert found[2] <= part * card_score
    assert read <= card_read
    for tensor in filter(quantizable, predict(shipped(name), qwen35(), IMATRIX, "i").tensors):
        assert tensor.type not in RESTRICTIONS, tensor


@pytest.mark.parametrize(("name", "part"), [("rpi5-16gb-fast", 0.5), ("rpi5-16gb-fine", 0.3)])
def test_independent_measurements_of_the_sister_agree(name: str, part: float) -> None:
    other = load_sensitivities(yaml.safe_load((RECIPES.parent / "sensitivities/qwen3.6-35b-a3b.yml").read_text()))
    found, by_card = (
        score(
            {tensor.name: tensor.type for tensor in predict(recipe, qwen35(), IMATRIX, "i").tensors}, "qwen35moe", other
        )
        for recipe in (shipped(name), card())
    )
    assert found <= part * by_card


def test_fast_is_better_than_the_card_and_what_it_replaced_in_every_respect() -> None:
    fast, by_card = costs(shipped("rpi5-16gb-fast")), costs(card())
    assert all(ours < other for ours, other in zip(fast, by_card))
    assert all(ours < other for ours, other in zip(fast, LEAN))
    assert fast[1] <= 0.87 * by_card[1]


@pytest.mark.parametrize("name", ["rpi5-16gb-fast", "rpi5-16gb-fine"])
def test_no_better_recipe_is_possible_by_more_than_a_twentieth(name: str) -> None:
    source = qwen35()
    size, read, found = costs(shipped(name))
    problem = make_problem(source.tensors, hyperparameters(source), SENSITIVITIES, RESTRICTIONS)
    assert found <= 1.05 * solve_freely(problem, Limits(size, read))[0].bound


def test_the_self_test_of_releases_knows_every_type_of_a_shipped_recipe() -> None:
    tested = set(default("ik_llama_build_selftest_types", "ik_llama_build"))
    for name in NAMES:
        tensors = filter(quantizable, predict(shipped(name), qwen35(), IMATRIX, "i").tensors)
        assert {tensor.type for tensor in tensors} <= tested, name
    probe_plan(sorted(tested))


def test_fine_fits_a_16_gb_board_at_16k() -> None:
    model = {"tensor_bytes": costs(shipped("rpi5-16gb-fine"))[0], "hparams": hyperparameters(qwen35())}
    options = {"context": 16384, "parallel": 1, "ctx_checkpoints": 4, "cache_ram_mib": 0}
    assert fit(model, options, 15818, 1024)["fits"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_shipped_recipe_is_in_vain(name: str) -> None:
    assert predict(shipped(name), qwen35(), IMATRIX, "i").warnings == ()


def other_source(fused: bool = False, predicting: bool = False) -> Header:
    """A source with gate and up in one tensor, or with a layer that predicts further tokens (MTP), as some are."""
    tensors = []
    for tensor in qwen35_tensors():
        if not fused or ".ffn_gate_exps." not in tensor.name:
            wide = (2048, 1024, 256) if fused and ".ffn_up_exps." in tensor.name else tensor.shape
            name = tensor.name.replace(".ffn_up_exps.", ".ffn_gate_up_exps.") if fused else tensor.name
            tensors.append(Tensor(name, wide, tensor.type))
    metadata = dict(QWEN35_METADATA)
    if predicting:
        metadata.update({"qwen35moe.block_count": 41, "qwen35moe.nextn_predict_layers": 1})
        last = [tensor for tensor in tensors if tensor.name.startswith("blk.39.")]
        tensors += [Tensor(tensor.name.replace("blk.39.", "blk.40."), tensor.shape, tensor.type) for tensor in last]
        tensors += [
            Tensor("blk.40.nextn.eh_proj.weight", (4096, 2048), "q8_0"),
            Tensor("blk.40.nextn.enorm.weight", (2048,), "f32"),
        ]
    return read_header(stream(metadata, tensors))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rpi5-16gb-card"])
def test_other_forms_of_the_model_are_covered(name: str) -> None:
    recipe = shipped(name)
    usual = predict(recipe, qwen35(), IMATRIX, "i")
    fused = predict(recipe, other_source(fused=True), IMATRIX, "i")
    assert fused.tensor_bytes == usual.tensor_bytes
    more = predict(recipe, other_source(fused=True, predicting=True), IMATRIX, "i")
    assert fused.warnings == more.warnings == ()
    types = {tensor.name: tensor.type for tensor in more.tensors}
    assert types["blk.40.attn_q.weight"] == types["blk.39.attn_q.weight"]
    assert types["blk.40.ffn_gate_up_exps.weight"] == types["blk.39.ffn_gate_up_exps.weight"]
    assert bits(Tensor("", (4096, 2048), types["blk.40.nextn.eh_proj.weight"])) > 4


def test_what_the_card_misses_in_other_forms_is_told() -> None:
    result = predict(card(), other_source(fused=True, predicting=True), IMATRIX, "i")
    missed = {"blk.*.ffn_gate_up_exps.weight": 41, "blk.*.nextn.eh_proj.weight": 1}
    assert [(doubt.kind, doubt.about) for doubt in result.doubts] == [("unnamed", name) for name in missed]
    for doubt in result.doubts:
        assert unnamed(doubt.text, doubt.about, missed[doubt.about]) == []
    assert result.warnings == tuple(doubt.text for doubt in result.doubts)


def test_rules_in_vain_are_told() -> None:
    rules = [
        *CARD["rules"],
        {"match": "attn_o_proj", "type": "q8_0"},
        {"match": "up_exps", "type": "q8_0"},
        {"match": "output_norm", "type": "q8_0"},
    ]
    doubts = predict(card(rules=rules), qwen35(), IMATRIX, "i").doubts
    assert [(doubt.kind, doubt.about) for doubt in doubts] == [
        ("unmatched", "rules[3]"),
        ("idle", "rules[4]"),
        ("idle", "rules[5]"),
    ]
    for doubt, rule in zip(doubts, rules[3:]):
        assert unnamed(doubt.text, doubt.about, rule["match"]) == []


def test_a_recipe_none_of_whose_rules_matches_is_for_another_model() -> None:
    rules = [{"match": r"self_attn\.q_proj", "type": "q8_0"}, {"match": r"mlp\.up_proj", "type": "q4_K"}]
    with pytest.raises(RecipeError) as caught:
        predict(card(rules=rules), qwen35(), IMATRIX, "i")
    assert caught.value.place == "rules"
    assert unnamed(caught.value, r"self_attn\.q_proj", "rules[0]") == []
    some = [*rules, {"match": "ffn_up", "type": "q8_0"}]
    doubts = predict(card(rules=some), qwen35(), IMATRIX, "i").doubts
    assert {"rules[0]", "rules[1]"} <= {doubt.about for doubt in doubts if doubt.kind == "unmatched"}
    assert predict(card(rules=[]), qwen35(), IMATRIX, "i").tensors


def test_large_tensors_that_nothing_names_are_told() -> None:
    recipe = card(engine=CARD["engine"][:3])
    doubts = predict(recipe, qwen35(), IMATRIX, "i").doubts
    assert [(doubt.kind, doubt.about) for doubt in doubts] == [
        ("unnamed", "blk.*.attn_gate.weight"),
        ("unnamed", "blk.*.ssm_out.weight"),
    ]
    for doubt in doubts:
        assert unnamed(doubt.text, doubt.about, 30) == []


def test_a_statement_that_the_engine_s_source_does_not_bear_out_is_told() -> None:
    wrong = [{"match": r"attn_v\.weight", "type": "iq5_k", "reason": "a mistake"}, *CARD["engine"][1:]]
    result = predict(card(engine=wrong), qwen35(), IMATRIX, "i")
    (doubt,) = result.doubts
    assert (doubt.kind, doubt.about) == ("refuted", "engine[0]")
    assert unnamed(doubt.text, "engine[0]", "blk.*.attn_v.weight", 10, "iq5_k", "iq4_k") == []
    # What the recipe says counts until the result shows otherwise.
    assert {tensor.type for tensor in result.tensors if "attn_v." in tensor.name} == {"iq5_k"}


def test_what_a_recipe_does_not_say_the_engine_s_source_says() -> None:
    result = predict(card(engine=[], attention={"output": "q8_0"}), qwen35(), IMATRIX, "i")
    assert result.tensor_bytes == 12_218_867_968


def test_command_line_is_the_cards() -> None:
    assert quantize_argv(card(), "llama-quantize", "in.gguf", "out.gguf", "imatrix.dat", 4) == [
        "llama-quantize", "--allow-requantize", "--imatrix", "imatrix.dat",
        "--token-embedding-type", "q6_K", "--output-tensor-type", "q6_K",
        "--attn-q-type", "q8_0", "--attn-k-type", "q8_0", "--attn-v-type", "q8_0", "--attn-qkv-type", "q8_0",
        "--attn-output-type", "q8_0", "--custom-q",
        r"ffn_(gate|up|down)_shexp\.weight=q8_0,blk\.[0-7]\.ffn_(gate|up|down)_exps\.weight=iq4_ks,"
        r"ffn_(gate|up|down)_exps\.weight=iq2_ks",
        "in.gguf", "out.gguf", "IQ2_KS", "4",
    ]  # fmt: skip


def test_command_line_without_what_is_not_asked_for() -> None:
    recipe = card(attention={}, rules=[], engine=[], allow_requantize=False)
    assert quantize_argv(recipe, "q", "in", "out", "", 1) == [
        "q", "--token-embedding-type", "q6_K", "--output-tensor-type", "q6_K", "in", "out", "IQ2_KS", "1",
    ]  # fmt: skip


def test_first_match_anywhere_in_the_name_wins() -> None:
    recipe = card(rules=[{"match": "1.ffn", "type": "q5_K"}, {"match": "ffn", "type": "q6_K"}])
    assert predict_type(recipe, Tensor("blk.11.ffn_up.weight", (256, 256), "f16")) == "q5_K"
    assert predict_type(recipe, Tensor("blk.12.ffn_up.weight", (256, 256), "f16")) == "q6_K"


def test_embedding_and_output_options_beat_the_rules() -> None:
    recipe = card(rules=[{"match": ".*", "type": "q8_0"}])
    assert predict_type(recipe, Tensor("token_embd.weight", (256, 99), "f16")) == "q6_K"
    assert predict_type(recipe, Tensor("output.weight", (256, 99), "f16")) == "q6_K"


@pytest.mark.parametrize(
    ("base", "name", "wanted"),
    [
        ("IQ4_KS", "blk.3.attn_q.weight", "q8_0"),
        ("IQ4_KS", "blk.3.attn_qkv.weight", "q8_0"),
        ("IQ4_KS", "blk.3.attn_k.weight", "q6_K"),
        ("IQ4_KS", "blk.3.attn_v.weight", "iq4_ks"),
        ("IQ2_KS", "blk.3.attn_output.weight", "q5_K"),
    ],
)
def test_attention_options_where_the_engine_honours_them(base: str, name: str, wanted: Any) -> None:
    attention = {"q": "q8_0", "k": "q6_K"} if base == "IQ4_KS" else {"output": "q5_K"}
    recipe = card(base=base, attention=attention, rules=[], engine=[])
    assert predict_type(recipe, Tensor(name, (256, 256), "f16")) == wanted


@pytest.mark.parametrize("option", ["q", "k", "v", "qkv"])
def test_an_option_that_the_engine_ignores_must_be_explained(option: str) -> None:
    with pytest.raises(RecipeError) as caught:
        card(attention={option: "q8_0"}, engine=[])
    assert caught.value.place == f"attention.{option}"
    assert unnamed(caught.value, f"--attn-{option}-type", "IQ2_KS", "engine") == []


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("blk.0.ffn_gate_inp.weight", (256, 64)),
        ("blk.0.ffn_gate_inp_shexp.weight", (256, 1)),
        ("blk.0.ssm_conv1d.weight", (4, 256)),
        ("blk.0.ssm_dt.bias", (256, 2)),
        ("blk.0.attn_q_norm.weight", (256, 2)),
        ("blk.0.ssm_a", (256, 2)),
        ("output_norm.weight", (256,)),
        ("position_embd.weight", (256, 256)),
    ],
)
def test_what_is_never_quantized(name: str, shape: tuple[int, ...]) -> None:
    assert predict_type(card(rules=[{"match": ".", "type": "q8_0"}]), Tensor(name, shape, "f32")) == "f32"


@pytest.mark.parametrize(
    ("asked", "given"), [("iq2_ks", "iq4_nl"), ("q4_K", "q5_0"), ("iq5_k", "q6_0"), ("q6_K", "q8_0"), ("q8_0", "q8_0")]
)
def test_rows_that_do_not_fill_blocks_of_256(asked: str, given: str) -> None:
    recipe = card(rules=[{"match": "ffn", "type": asked}])
    assert predict_type(recipe, Tensor("blk.0.ffn_up.weight", (96, 8), "f16")) == given


def test_rows_that_no_type_can_hold() -> None:
    with pytest.raises(RecipeError) as caught:
        predict_type(card(), Tensor("blk.0.ffn_up_exps.weight", (100, 8), "f16"))
    assert caught.value.place == ""
    assert unnamed(caught.value, "blk.0.ffn_up_exps.weight", 100) == []


def test_quantized_source_needs_leave() -> None:
    with pytest.raises(RecipeError) as caught:
        predict(card(allow_requantize=False), qwen35(), IMATRIX, "i")
    assert caught.value.place == "allow_requantize"
    assert unnamed(caught.value, "allow_requantize", "q8_0") == []
    assert predict(card(allow_requantize=False), qwen35("bf16"), IMATRIX, "i").tensor_bytes == 12_218_867_968


@pytest.mark.parametrize(
    ("changes", "place", "names"),
    [
        ({"base": "IQ2_QQ"}, "base", ["base", "IQ2_QQ", "IQ2_KS"]),
        ({"base": "F16"}, "base", ["base", "F16"]),
        ({"base": "iq2_ks"}, "base", ["base", "iq2_ks"]),
        ({"title": " "}, "title", ["title"]),
        ({"requires_imatrix": "yes"}, "requires_imatrix", ["requires_imatrix", "bool"]),
        ({"color": "red"}, "color", ["color", "title"]),
        ({"output": {"type": "Q6_K"}}, "output.type", ["output", "Q6_K", "q6_K"]),
        ({"output": {"typ": "q6_K"}}, "output", ["output", "type", "reason"]),
        ({"attention": {"o": "q8_0"}}, "attention", ["attention", "o", "qkv"]),
        ({"rules": [{"type": "q8_0"}]}, "rules[0]", ["rules[0]", "match"]),
        ({"rules": [{"match": "a", "type": "q8_0"}, {"match": "a"}]}, "rules[1].type", ["rules[1]"]),
        ({"rules": [{"match": "a{1,2}", "type": "q8_0"}]}, "rules[0].match", ["rules[0]", "a{1,2}"]),
        ({"rules": [{"match": "a=b", "type": "q8_0"}]}, "rules[0].match", ["rules[0]", "a=b"]),
        ({"rules": [{"match": "(?i)a", "type": "q8_0"}]}, "rules[0].match", ["rules[0]", "(?i)a"]),
        ({"rules": [{"match": "a++", "type": "q8_0"}]}, "rules[0].match", ["rules[0]", "a++"]),
        ({"rules": [{"match": "(a", "type": "q8_0"}]}, "rules[0].match", ["rules[0]", "(a"]),
        ({"rules": [{"match": "", "type": "q8_0"}]}, "rules[0].match", ["rules[0]"]),
        (
            {"rules": [{"match": "a", "type": "iq4_ks_r4"}]},
            "rules[0].type",
            ["rules[0]", "iq4_ks_r4", "--run-time-repack"],
        ),
        ({"rules": [{"match": "a", "type": "q9_9"}]}, "rules[0].type", ["rules[0]", "q9_9", "q8_0"]),
    ],
)
def test_wrong_recipes_are_refused_and_the_place_is_named(
    changes: dict[str, Any], place: str, names: list[str]
) -> None:
    with pytest.raises(RecipeError) as caught:
        card(**changes)
    assert caught.value.place == place
    assert unnamed(caught.value, *names) == []


@pytest.mark.parametrize("data", [None, [], "text", 7, {}])
def test_what_is_no_recipe(data: Any) -> None:
    with pytest.raises(RecipeError):
        load_recipe(data)


def test_wrong_source_or_missing_imatrix() -> None:
    other = read_header(stream({"general.architecture": "llama"}, []))
    with pytest.raises(RecipeError) as caught:
        predict(card(), other, IMATRIX, "i")
    assert caught.value.place == "architecture"
    assert unnamed(caught.value, "qwen35moe", "llama") == []
    with pytest.raises(RecipeError) as caught:
        predict(card(), qwen35(), None, "")
    assert caught.value.place == "requires_imatrix"
    odd = read_header(stream({"general.architecture": "qwen35moe", "general.alignment": 64}, [], alignment=64))
    with pytest.raises(RecipeError) as caught:
        predict(card(), odd, IMATRIX, "i")
    assert caught.value.place == ""
    assert unnamed(caught.value, 64, 32) == []


def test_the_key_follows_only_what_reaches_the_engine() -> None:
    changed = copy.deepcopy(CARD)
    changed["title"] = "Another"
    changed["rules"][0]["reason"] = "Another"
    changed["engine"] = changed["engine"][:3]
    assert effective(load_recipe(changed)) == effective(card())
    changed["rules"].reverse()
    assert effective(load_recipe(changed)) != effective(card())


def test_differences_name_the_tensors() -> None:
    predicted = Prediction((Tensor("a", (32,), "q8_0"), Tensor("b", (32,), "f32")), 0, 500)
    found = read_header(stream({}, [Tensor("a", (32,), "f16"), Tensor("c", (32,), "f32")]))
    shown = [("b",), ("c",), ("a", "f16", "q8_0")]
    lines = differences(predicted, found, 500)
    assert len(lines) == len(shown)
    assert [unnamed(line, *names) for line, names in zip(lines, shown)] == [[], [], []]
    same = read_header(stream({}, [Tensor("a", (32,), "q8_0"), Tensor("b", (32,), "f32")]))
    assert differences(predicted, same, 500) == []
    (line,) = differences(predicted, same, 499)
    assert unnamed(line, 499, 500) == []
