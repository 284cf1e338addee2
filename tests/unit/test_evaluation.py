"""Figures are published only where they are whole and numbers, whatever the engine's program ends with."""

from __future__ import annotations

import io
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common import long_jobs
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import calibration, measuring
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.coverage import experts_warnings
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import (
    EvaluationError,
    FiguresError,
    base_figures,
    compared_tokens,
    evaluation_id,
    expected_seconds,
    logits_bytes,
    model_figures,
    most_chunks,
    read_logits_header,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    Header,
    file_bytes,
    read_header,
    tensor_bytes,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix, experts_without_data
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import contents, unused
from ansible_collections.ik_llama.pi.plugins.plugin_utils import evaluation_report
from evaluation_fixture import (
    BASE,
    CHUNKS,
    COMPARED,
    CONTEXT,
    FINAL,
    IMATRIX,
    METADATA,
    SOURCE,
    VOCABULARY,
    World,
    matrix_bytes,
)
from gguf_files import header_bytes
from naming import unnamed


def test_figures_of_a_model() -> None:
    assert model_figures(COMPARED) == {
        "perplexity": {"value": 6.712345, "error": 0.112233},
        "base_perplexity": {"value": 6.489012, "error": 0.109876},
        "perplexity_ratio": {"value": 1.03439, "error": 0.002287},
        "kl_divergence": {"value": 0.045678, "error": 0.001234},
        "probability_change": {"value": 5.678, "error": 0.098},
        "same_top_percent": {"value": 90.123, "error": 0.234},
        "kl_percentiles": {
            "maximum": 4.56789, "p99_9": 1.234567, "p99": 0.456789,
            "p95": 0.156789, "p90": 0.098765, "median": 0.019876,
        },
    }  # fmt: skip


def test_a_model_that_equals_its_source_has_figures_without_uncertainty() -> None:
    same = COMPARED.replace("5.678 ± 0.098", "0.000 ± -nan").replace("1.034390 ±   0.002287", "1.000000 ±       -nan")
    figures = model_figures(same)
    assert figures["probability_change"] == {"value": 0, "error": None}
    assert figures["perplexity_ratio"] == {"value": 1, "error": None}


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (COMPARED.replace("0.045678 ±   0.001234", "     nan ±        nan"), "nan"),
        (COMPARED.replace("6.712345", "     inf"), "nan"),
        (COMPARED.replace("Maximum KLD:   4.567890", "Maximum KLD:       -nan"), "nan"),
        (COMPARED.partition("====== KL")[0], "missing"),
        (COMPARED.partition("Same top p:")[0], "missing"),
        ("failed reading log-probs for chunk 3\n", "missing"),
        ("", "missing"),
    ],
)
def test_figures_that_are_missing_or_no_numbers(output: str, code: str) -> None:
    with pytest.raises(FiguresError) as error:
        model_figures(output)
    assert error.value.code == code


def test_figures_of_the_source() -> None:
    assert base_figures(FINAL) == {"value": 6.489, "error": 0.10988}
    assert base_figures(BASE + "Unexpected negative standard deviation of log(prob)\n") == {
        "value": 6.489,
        "error": None,
    }


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("", "missing"),
        ("perplexity: the data file you provided tokenizes to only 40 tokens\n", "short"),
        ("[1]6.1,[2]nan,\nUnexpected negative standard deviation of log(prob)\n", "nan"),
    ],
)
def test_a_source_without_figures(output: str, code: str) -> None:
    with pytest.raises(FiguresError) as error:
        base_figures(output)
    assert error.value.code == code


def test_sizes() -> None:
    """Those of the file that examples/perplexity/perplexity.cpp writes."""
    assert compared_tokens(512, 1) == 255
    assert logits_bytes(248320, 512, 1) == 20 + 4 * 512 + 255 * (248320 + 4) * 2
    assert logits_bytes(5, 32, 2) == 20 + 4 * 64 + 2 * 15 * (6 + 4) * 2
    assert read_logits_header(io.BytesIO(b"_logits_" + struct.pack("<3i", 32, 5, 2))).file_bytes == logits_bytes(
        5, 32, 2
    )
    for data in (b"", b"_logits_" + struct.pack("<i", 32), b"something else that is long"):
        with pytest.raises(FiguresError):
            read_logits_header(io.BytesIO(data))


def test_how_much_of_a_text() -> None:
    assert most_chunks(10_000, 512, 64) == 19
    assert most_chunks(10_000_000, 512, 64) == 64
    assert most_chunks(1023, 512, 0) == 2


def test_a_model_that_does_not_fit_into_memory_is_read_for_each_chunk() -> None:
    quick = expected_seconds(10**9, 10**10, 512, 64, 8, 64 << 30)
    assert quick < expected_seconds(10**9, 10**10, 512, 64, 8, 4 << 30)
    assert quick < expected_seconds(10**9, 10**10, 512, 64, 1, 64 << 30)


def test_the_id_never_changes() -> None:
    assert evaluation_id("a" * 64, "b" * 64, 512, 64, "c" * 40) == "a911f372e0d7"


# --- Steps, with a program that prints and writes what the engine's would ---------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_measured_once_then_nothing_is_left_to_do(world: World) -> None:
    found = world.info()
    assert [model["recipes"] for model in found["models"]] == [["one"], ["three"], ["too", "two"]]
    assert found["logits"]["bytes"] == logits_bytes(VOCABULARY, CONTEXT, CHUNKS)
    assert found["program"] == str(world.program)
    assert world.measure()["result"]["chunks"] == CHUNKS
    manifests = [path.read_bytes() for path in (world.root / "m").glob("?" * 12 + ".json")]
    for model in found["models"]:
        assert world.measure(model["id"])["result"]["kl_divergence"]["value"] == 0.045678
    again = world.info()
    assert again["id"] == found["id"]
    assert all(model["figures"]["chunks"] == CHUNKS for model in again["models"])
    assert (again["logits"]["bytes"], again["logits"]["seconds"]) == (0, 0)
    assert world.step("prepared")["changed"] is False
    assert world.step("prepared", "1" * 12)["changed"] is False
    assert manifests == [path.read_bytes() for path in (world.root / "m").glob("?" * 12 + ".json")]


def test_figures_of_several_evaluations_are_kept_and_logits_of_the_newest(world: World) -> None:
    world.measure()
    first = world.measure("1" * 12)["id"]
    world.text.write_text("other " * 100)
    world.measure()
    second = world.measure("1" * 12)["id"]
    known = json.loads((world.root / "m" / f"{'1' * 12}.evaluation.json").read_text())["evaluations"]
    assert set(known) == {first, second}
    assert [path.name for path in (world.root / ".evaluations").iterdir()] == [second]


def test_a_result_that_nobody_published_is_published_by_the_next_run(world: World) -> None:
    staged = world.step("prepared")
    job = long_jobs.start("x", staged["argv"], staged["job"], staged["job"])
    assert long_jobs.look(staged["job"], job["id"], 20)["finished"]
    assert "argv" not in world.step("prepared")
    assert world.step("published")["finished"]


def test_a_half_written_file_is_never_used(world: World) -> None:
    """The command was killed; its file is removed before it is written again."""
    staged = world.step("prepared")
    part = Path(staged["argv"][staged["argv"].index("--kl-divergence-base") + 1])
    part.write_bytes(b"half")
    with pytest.raises(EvaluationError) as error:
        world.step("published")
    assert error.value.code == "changed"
    assert "argv" in world.step("prepared")
    assert world.logits() == []
    with pytest.raises(EvaluationError) as error:
        world.step("prepared", "1" * 12)
    assert error.value.code == "logits"


@pytest.mark.parametrize(
    ("settings", "argument", "code"),
    [
        ({"size": logits_bytes(VOCABULARY, CONTEXT, CHUNKS) - 1}, "root", "cut"),
        ({"size": 20}, "root", "cut"),
        ({"size": 0}, "root", "cut"),
        ({"vocabulary": VOCABULARY + 1}, "source", "header"),
        ({"base": "tokenizes to only 40 tokens\n"}, "text", "short"),
        ({"base": "[1]nan,[2]nan,\n"}, "source", "nan"),
        ({"base": "no such model\n"}, "source", "missing"),
        ({"rc": 1}, "source", "ended"),
        ({"chunks": 2, "size": logits_bytes(VOCABULARY, CONTEXT, 2)}, "text", "short"),
    ],
)
def test_logits_that_are_worth_nothing_are_removed(world: World, settings: Any, argument: str, code: str) -> None:
    world.mode(**settings)
    with pytest.raises(EvaluationError) as error:
        world.measure()
    assert (error.value.argument, error.value.code) == (argument, code)
    assert world.logits() == []
    world.mode()
    assert world.measure()["finished"]


@pytest.mark.parametrize(("output", "code"), [(COMPARED.replace("0.045678", "nan"), "nan"), ("broken\n", "missing")])
def test_figures_that_are_worth_nothing_are_measured_again(world: World, output: str, code: str) -> None:
    world.measure()
    world.mode(compared=output)
    with pytest.raises(EvaluationError) as error:
        world.measure("1" * 12)
    assert (error.value.argument, error.value.code) == ("model", code)
    assert not list((world.root / "m").glob("*.evaluation.json"))
    world.mode()
    assert world.measure("1" * 12)["finished"]


def test_what_is_being_written_is_not_removed(world: World) -> None:
    world.mode(sleep=2)
    staged = world.step("prepared")
    job = long_jobs.start("x", staged["argv"], staged["job"], staged["job"])
    part = Path(staged["argv"][staged["argv"].index("--kl-divergence-base") + 1])
    part.write_bytes(b"half")
    world.step("cleared")
    assert part.exists()
    assert long_jobs.look(staged["job"], job["id"], 20)["finished"]
    assert world.step("published")["finished"]


@pytest.mark.parametrize(
    ("params", "argument", "code"),
    [
        ({"text": ""}, "text", "missing"),
        ({"text": "/nowhere/text.txt"}, "text", "missing"),
        ({"text": "/"}, "text", "missing"),
        ({"context": 512}, "text", "short"),
        ({"context": 8}, "context", "number"),
        ({"context": 16384}, "context", "number"),
        ({"chunks": -1}, "chunks", "number"),
        ({"chunks": 2}, "chunks", "few"),
        ({"threads": -1}, "threads", "number"),
        ({"source": "/nowhere/model.gguf"}, "source", "missing"),
        ({"engine_root": "/nowhere"}, "engine_root", "release"),
        ({"recipes": ["one", "none"]}, "recipes", "model"),
        ({"name": "none"}, "name", "model"),
    ],
)
def test_bad_input_is_named(world: World, params: dict[str, Any], argument: str, code: str) -> None:
    with pytest.raises(EvaluationError) as error:
        world.info(**params)
    assert (error.value.argument, error.value.code) == (argument, code)


def test_no_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "free_bytes", lambda path: 100)
    with pytest.raises(EvaluationError) as error:
        world.info()
    assert (error.value.argument, error.value.code) == ("chunks", "room")


def test_models_of_another_source_are_left_out_or_refused(world: World) -> None:
    world.model("9" * 12, ["foreign"], "0" * 64)
    assert [left["recipe"] for left in world.info()["left_out"]] == ["foreign"]
    with pytest.raises(EvaluationError) as error:
        world.info(recipes=["foreign"])
    assert (error.value.argument, error.value.code) == ("recipes", "model")
    assert unnamed(error.value, "foreign", "one", "two", "three") == []
    world.measure()
    with pytest.raises(EvaluationError) as error:
        world.measure("9" * 12)
    assert error.value.code == "other"


def test_a_program_of_another_commit_is_not_used(world: World) -> None:
    other = world.folder / "engine/releases/e"
    (other / "bin").mkdir(parents=True)
    world.program.rename(other / "bin/llama-perplexity")
    (world.folder / "engine/evaluate").symlink_to("releases/e")
    for commit, found in (("d" * 40, ""), ("c" * 40, str(other / "bin/llama-perplexity"))):
        (other / "release.json").write_text(json.dumps({"commit": commit, "id": "e"}))
        assert world.info()["program"] == found


def test_figures_go_with_their_model_and_all_goes_at_removal(world: World) -> None:
    world.measure()
    world.measure("1" * 12)
    old = time.time() - 1000
    os.utime(world.root / "m" / f"{'1' * 12}.json", (old, old))
    gone = unused(world.root, "m", "2" * 12, 2, [])
    assert world.root / "m" / f"{'1' * 12}.evaluation.json" in gone
    assert contents(world.root).kept == []


# --- Importance matrices ----------------------------------------------------------------------------------------------


def small() -> Header:
    data = header_bytes(METADATA, SOURCE)
    size = file_bytes(len(data), [tensor_bytes(item.type, item.shape) for item in SOURCE])
    return read_header(io.BytesIO(data.ljust(size, b"\0")), size)


def test_experts_without_data_are_counted() -> None:
    """The engine writes the number of calls into all columns of an expert that saw no token."""
    up, down = "blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight"
    seen = [float(column) for column in range(256)]
    matrix = matrix_bytes({up: [*seen, *[7.0] * 256, *seen, *[0.0] * 256], down: seen * 4}, 7)
    found = experts_without_data(io.BytesIO(matrix), len(matrix), {up: 4, down: 4})
    assert found == {up: 2, down: 0}
    (warning,) = experts_warnings(small(), found)
    assert unnamed(warning, 2, 4, "ffn_up_exps") == []


def test_coverage_of_a_matrix() -> None:
    """An entry that the engine left out is known from what it printed; a gate counts for its up."""
    up, down = "blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight"
    output = (
        f"save_imatrix: entry '{down:>40}' has partial data (25.00%) 3 out of 4 experts are missing data - skipping\n"
    )
    found = calibration.coverage(small(), Imatrix(1, 3, "text", {up: 1024}), {up: 1}, output)
    assert found == {
        "tensors": 2,
        "lacking": [down],
        "experts": {
            "ffn_up_exps": {"experts": 4, "without_data": 1},
            "ffn_down_exps": {"experts": 4, "without_data": 3},
        },
    }
    warnings = calibration.coverage_warnings(found)
    assert unnamed(" ".join(warnings), down, "ffn_up_exps", "ffn_down_exps") == []
    manifest = {
        "id": "m" * 12, "text": {"file": "text.txt"}, "source": {"file": "source.gguf"}, "chunks": 3, "context": 512,
        "coverage": found,
    }  # fmt: skip
    text = evaluation_report.imatrix_as_text({"manifest": manifest, "path": "/x/imatrix.dat"})
    assert unnamed(text, "gguf_quantize_imatrix", "/x/imatrix.dat") == []


def test_a_gate_counts_for_its_up_where_both_have_no_entry() -> None:
    up, down = "blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight"
    output = f"entry '{up:>40}' has partial data (75.00%) 1 out of 4 experts are missing data - skipping\n"
    found = calibration.coverage(small(), Imatrix(1, 3, "text", {down: 1024}), {down: 0}, output)
    assert found["lacking"] == [up, "blk.0.ffn_gate_exps.weight"]
    assert found["experts"] == {
        "ffn_up_exps": {"experts": 4, "without_data": 1},
        "ffn_down_exps": {"experts": 4, "without_data": 0},
    }


def test_an_importance_matrix(world: World) -> None:
    program = world.program.with_name("llama-imatrix")
    program.write_text(IMATRIX)
    program.chmod(0o755)
    seen = [float(column) for column in range(1, 257)]
    good = matrix_bytes({"blk.0.ffn_up_exps.weight": seen * 4, "blk.0.ffn_down_exps.weight": seen * 4}, 3)
    warnings: list[str] = []

    def step(state: str) -> dict[str, Any]:
        return calibration.calibration_result({**world.params, "state": state}, False, warnings.append)

    def make(data: bytes) -> dict[str, Any]:
        program.with_name("matrix").write_bytes(data)
        staged = step("prepared")
        job = long_jobs.start("x", staged["argv"], staged["chdir"], staged["job"])
        assert long_jobs.look(staged["job"], job["id"], 20)["finished"]
        return step("published")

    for data, code in ((good[:-600], "damaged"), (b"", "ended")):
        with pytest.raises(EvaluationError) as error:
            make(data)
        assert error.value.code == code
        assert not list((world.root / ".imatrices").glob("*/*"))
    made = make(good)
    assert Path(made["path"]).read_bytes() == good
    assert made["manifest"]["coverage"]["experts"]["ffn_up_exps"] == {"experts": 4, "without_data": 0}
    assert (made["manifest"]["chunks"], warnings) == (3, [])
    found = calibration.calibration_facts(world.params, warnings.append)
    assert (found["manifest"], found["bytes"], found["seconds"]) == (made["manifest"], 0, 0)
    assert step("prepared")["changed"] is False
    assert contents(world.root).kept == []


# --- Report -----------------------------------------------------------------------------------------------------------


def test_the_report_has_the_nearest_model_first(world: World) -> None:
    world.measure()
    for number, value in (("1", "0.345678"), ("2", "0.045678"), ("3", "0.145678")):
        world.mode(compared=COMPARED.replace("0.045678", value))
        world.measure(number * 12)
    found = world.info()
    result = {"name": "m", "id": found["id"], "models": found["models"]}
    rows = evaluation_report.table(result)[2]
    assert [row[0] for row in rows] == ["too, two", "three", "one"]
    for text in (evaluation_report.as_text(result), evaluation_report.as_markdown(result)):
        assert unnamed(text, found["id"], "0.04568", "90.12", "source.gguf", "text.txt") == []
        assert not [line for line in text.splitlines() if line != line.rstrip()]
    drawn = evaluation_report.plot(result)
    assert drawn == evaluation_report.plot(result)
    assert not drawn or unnamed(drawn, "too", "three", "one") == []
