"""The whole chain with the real engine: an importance matrix, models by three recipes, and what these cost.

Models and figures are in a folder of this file's own, because the tests of quantizing end with its removal.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import string
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_text
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import contents
from naming import unnamed
from runs import Background, Result, changed, facts, failures, refused, results, warnings

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "evaluated"
ROOT = FOLDER / "models"
MODELS = ROOT / "alphabet"
REPORTS = FOLDER / "reports"
RECIPES = ("rpi5-16gb-card", "rpi5-16gb-fast", "rpi5-16gb-fine")
CONTEXT, CHUNKS = 128, 24


def write_text(name: str, lines: int = 400) -> Path:
    """Write a text like the one that the test model speaks, another one for each name."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    source = random.Random(name)
    letters = list(string.ascii_lowercase)
    written = []
    for _ in range(lines):
        source.shuffle(letters)
        written.append("".join(letters) + ", " + string.ascii_uppercase[:5])
    path.write_text("\n".join(written) + "\n")
    return path


def variables(**settings: Any) -> str:
    values = {
        "gguf_quantize_root": str(ROOT),
        "gguf_evaluate_folder": str(REPORTS),
        "gguf_evaluate_context": CONTEXT,
        "gguf_evaluate_chunks": CHUNKS,
        "gguf_evaluate_imatrix_context": CONTEXT,
        **settings,
    }
    return f"--extra-vars={json.dumps(values)}"


@pytest.fixture(scope="module")
def play(run_playbook: Any) -> Callable[..., tuple[int, str]]:
    """Run playbooks/evaluate.yml, or another one, to its end."""

    def run(*arguments: str, playbook: str = "evaluate", **settings: Any) -> tuple[int, str]:
        done = run_playbook(f"playbooks/{playbook}.yml", variables(**settings), *arguments)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def text() -> str:
    return str(write_text("evaluation.txt"))


@pytest.fixture(scope="module", autouse=True)
def models(play: Any) -> dict[str, Path]:
    """A model by each recipe."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for recipe in RECIPES:
        code, output = play(playbook="quantize", gguf_quantize_recipe=recipe)
        assert code == 0, output
    return {recipe: MODELS / os.readlink(MODELS / f"{recipe}.json") for recipe in RECIPES}


def commands(output: str) -> list[Result]:
    """Return the long commands that ran to their end, without those of a build."""
    found = [result for result in results(output, "long_command") if result.outcome == "ok"]
    return [result for result in found if "/roles/gguf_evaluate/" in result.task]


def logits() -> list[Path]:
    return sorted((ROOT / ".evaluations").glob("*/*"))


def figures(manifest: Path) -> dict[str, Any]:
    content = json.loads(manifest.with_name(f"{manifest.stem}.evaluation.json").read_text())
    found: dict[str, Any] = content["evaluations"]
    return found


@pytest.fixture(scope="module")
def measured(play: Any, text: str, models: Any) -> str:
    """Output of the run that measures all models. It builds the program that measures, where it is missing."""
    code, output = play(text=text)
    assert code == 0, output
    return str(output)


def test_three_recipes_are_measured(measured: str, models: dict[str, Path]) -> None:
    result = facts(measured, "localhost")["gguf_evaluate_result"]
    assert sorted(recipe for model in result["models"] for recipe in model["recipes"]) == sorted(RECIPES)
    for model in result["models"]:
        found = model["figures"]
        assert found == figures(models[model["recipes"][0]])[result["id"]]
        assert found["chunks"] == CHUNKS
        # The test model is so sure of each letter that six digits show no divergence.
        assert found["kl_divergence"]["value"] >= 0
        assert found["perplexity"]["value"] >= 1
        assert 0 < found["same_top_percent"]["value"] <= 100
        assert found["engine"]["commit"] == json.loads(models[RECIPES[0]].read_text())["engine"]["commit"]
    assert len({model["figures"]["perplexity_ratio"]["value"] for model in result["models"]}) == len(RECIPES)
    assert {path.name for path in logits()} == {"logits.bin", "logits.json"}


def test_the_report(measured: str) -> None:
    result = facts(measured, "localhost")["gguf_evaluate_result"]
    report = REPORTS / f"alphabet-{result['id']}.md"
    assert unnamed(report.read_text(), *RECIPES, "evaluation.txt") == []
    assert json.loads(report.with_suffix(".json").read_text())["models"] == result["models"]


def test_manifests_are_as_they_were(measured: str, models: dict[str, Path]) -> None:
    """They are compared byte by byte when a model is copied."""
    for manifest in models.values():
        assert "evaluations" not in json.loads(manifest.read_text())
        assert manifest.stat().st_mtime_ns < (ROOT / ".evaluations").stat().st_mtime_ns


def test_a_second_run_changes_nothing(measured: str, play: Any, text: str) -> None:
    code, output = play(text=text)
    assert code == 0, output
    assert (changed(output), commands(output)) == (0, [])
    assert facts(output, "localhost")["gguf_evaluate_plan"]["change"] is False


def test_another_text_leaves_the_figures_of_the_first(measured: str, play: Any, models: dict[str, Path]) -> None:
    first = facts(measured, "localhost")["gguf_evaluate_result"]["id"]
    code, output = play(text=str(write_text("second.txt")), recipes=RECIPES[0])
    assert code == 0, output
    assert len(commands(output)) == 2
    second = facts(output, "localhost")["gguf_evaluate_result"]["id"]
    assert set(figures(models[RECIPES[0]])) == {first, second}
    assert {path.parent.name for path in logits()} == {second}


def stopped(begin: Any, job: Path, begun: Callable[[], bool], **settings: Any) -> tuple[Background, int]:
    """Start a run, stop its command as soon as it has begun, and return the run and the command's process group."""
    (job / "job.json").unlink(missing_ok=True)
    run = begin("playbooks/evaluate.yml", variables(gguf_evaluate_threads=1, **settings))
    for _ in range(30000):
        if (job / "job.json").exists() and begun():
            break
        assert run.poll() is None, run.ended()
        time.sleep(0.01)
    group = int(json.loads((job / "job.json").read_text())["pid"])
    os.killpg(group, signal.SIGSTOP)
    assert not (job / "exit.json").exists()
    return run, group


def kill(group: int) -> None:
    os.killpg(group, signal.SIGCONT)
    os.killpg(group, signal.SIGKILL)


def was_killed(run: Background) -> None:
    (result,) = [result for result in results(run.ended(), "long_command") if result.outcome == "failed"]
    assert run.returncode != 0
    assert result.data["code"] == "killed"


def test_killed_while_logits_are_written(measured: str, begin_playbook: Any, play: Any) -> None:
    """Nothing of them is used; the next run writes them from the beginning."""
    text = str(write_text("killed.txt"))
    job = ROOT / ".jobs/evaluate"
    run, group = stopped(begin_playbook, job, lambda: bool(list((ROOT / ".evaluations").glob("*/*.part"))), text=text)
    (part,) = (ROOT / ".evaluations").glob("*/*.part")
    assert not part.with_name("logits.json").exists()
    kill(group)
    was_killed(run)
    assert not part.exists()
    code, output = play(text=text, gguf_evaluate_threads=1)
    assert code == 0, output
    assert len(commands(output)) == 1 + len(RECIPES)
    manifest = json.loads(part.with_name("logits.json").read_text())
    assert manifest["bytes"] == part.with_name("logits.bin").stat().st_size


def comparing(job: Path) -> Callable[[], bool]:
    return lambda: "--kl-divergence" in json.loads((job / "job.json").read_text())["argv"]


def test_killed_while_a_model_is_compared(measured: str, begin_playbook: Any, play: Any) -> None:
    """Logits and figures that are there are not made again."""
    text = str(write_text("compared.txt"))
    job = ROOT / ".jobs/evaluate"
    run, group = stopped(begin_playbook, job, comparing(job), text=text)
    written = [(path, path.stat().st_mtime_ns) for path in logits()]
    kill(group)
    was_killed(run)
    code, output = play(text=text, gguf_evaluate_threads=1)
    assert code == 0, output
    assert len(commands(output)) == len(RECIPES)
    assert [(path, path.stat().st_mtime_ns) for path in logits()] == written


def test_the_controller_is_killed(measured: str, begin_playbook: Any, play: Any) -> None:
    """The command goes on, and the next run attaches to it or takes its result."""
    text = str(write_text("controller.txt"))
    job = ROOT / ".jobs/evaluate"
    run, group = stopped(begin_playbook, job, lambda: bool(list((ROOT / ".evaluations").glob("*/*.part"))), text=text)
    started = json.loads((job / "job.json").read_text())
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    os.killpg(group, signal.SIGCONT)
    code, output = play(text=text, gguf_evaluate_threads=1)
    assert code == 0, output
    manifest = json.loads(next(path for path in logits() if path.name == "logits.json").read_text())
    # Its file was written by the command of the run that was killed.
    assert manifest["seconds"] > 0
    ours = [result for result in commands(output) if not result.data["attached"]]
    assert len(ours) == len(RECIPES)
    assert Path(started["argv"][started["argv"].index("--kl-divergence-base") + 1]).parent.name == manifest["id"]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk for logits of which there is just enough."""
    folder = ROOT / ".evaluations"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk to its last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return filler


def test_the_disk_becomes_full_while_logits_are_written(
    measured: str, small_disk: Path, begin_playbook: Any, play: Any
) -> None:
    """The engine does not notice: it computes to its end, and ends with 0."""
    text = str(write_text("full.txt"))
    run, group = stopped(
        begin_playbook, ROOT / ".jobs/evaluate", lambda: bool(list(small_disk.glob("*/*.part"))), text=text
    )
    filler = fill(small_disk)
    os.killpg(group, signal.SIGCONT)
    output = run.ended()
    assert run.returncode != 0
    (failed,) = [result for result in results(output, "gguf_evaluation") if result.outcome == "failed"]
    assert (failed.data["argument"], failed.data["code"]) == ("root", "cut")
    assert unnamed(refused(output), "localhost", "gguf_evaluate_root", ROOT) == []
    assert logits() == []
    code, output = play(text=text)
    assert code != 0
    assert failures(output)["localhost"].data["code"] == "room"
    assert unnamed(refused(output), "gguf_evaluate_chunks") == []
    assert changed(output) == 0
    filler.unlink()
    code, output = play(text=text)
    assert code == 0, output


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"text": "/nowhere/text.txt"}, ("gguf_evaluate_text", "/nowhere/text.txt")),
        ({"text": ""}, ("gguf_evaluate_text",)),
        ({"gguf_evaluate_context": 8192}, ("gguf_evaluate_text", 8192)),
        ({"gguf_evaluate_context": 5}, ("gguf_evaluate_context",)),
        ({"gguf_evaluate_chunks": 1}, ("gguf_evaluate_chunks", 1)),
        ({"recipes": "rpi5-16gb-card,nonsense"}, ("gguf_evaluate_recipes", "nonsense", "rpi5-16gb-fast")),
        ({"gguf_evaluate_name": "nonsense"}, ("gguf_evaluate_name", "nonsense")),
        ({"gguf_evaluate_source": "/nowhere/model.gguf"}, ("gguf_evaluate_source", "/nowhere/model.gguf")),
        ({"gguf_evaluate_engine_root": "/nowhere"}, ("gguf_evaluate_engine_root", "/nowhere")),
    ],
)
def test_bad_input_is_named(play: Any, text: str, settings: dict[str, Any], names: tuple[Any, ...]) -> None:
    code, output = play(**{"text": text, **settings})
    assert code != 0
    assert unnamed(refused(output), "localhost", *names) == []
    assert (changed(output), commands(output)) == (0, [])


def test_a_text_that_has_too_few_tokens_after_all(play: Any) -> None:
    """Bytes are more than tokens: only the engine knows."""
    path = FOLDER / "spaces.txt"
    path.write_text("  " * 150)
    code, output = play(text=str(path))
    assert code != 0
    (failed,) = [result for result in results(output, "gguf_evaluation") if result.outcome == "failed"]
    assert (failed.data["argument"], failed.data["code"]) == ("text", "short")
    assert not list((ROOT / ".evaluations").glob("*/*.part"))


@pytest.fixture(scope="module")
def matrix(play: Any) -> dict[str, Any]:
    """The plan of an importance matrix of a text that reaches all experts."""
    code, output = play(text=str(write_text("matrix.txt", 80)), imatrix=True)
    assert code == 0, output
    plan: dict[str, Any] = facts(output, "localhost")["gguf_evaluate_imatrix_plan"]
    return plan


def test_an_importance_matrix_is_made_and_used(matrix: dict[str, Any], play: Any) -> None:
    covered = matrix["manifest"]["coverage"]
    assert covered["lacking"] == []
    assert covered["experts"] == {kind: {"experts": 96, "without_data": 0} for kind in ("ffn_up_exps", "ffn_down_exps")}
    code, output = play(text=str(FOLDER / "matrix.txt"), imatrix=True)
    assert (code, changed(output)) == (0, 0), output
    code, output = play(
        playbook="quantize", gguf_quantize_recipe="rpi5-16gb-card", gguf_quantize_imatrix=matrix["path"]
    )
    assert code == 0, output
    made = json.loads((MODELS / "rpi5-16gb-card.json").read_text())
    assert made["imatrix"]["sha256"] == matrix["manifest"]["sha256"]


def test_killed_while_an_importance_matrix_is_made(begin_playbook: Any, play: Any) -> None:
    text = str(write_text("matrix-killed.txt", 120))
    job = ROOT / ".jobs/imatrix"
    run, group = stopped(begin_playbook, job, lambda: "[1]" in read_text(job / "log"), text=text, imatrix=True)
    kill(group)
    was_killed(run)
    code, output = play(text=text, imatrix=True, gguf_evaluate_threads=1)
    assert code == 0, output
    plan = facts(output, "localhost")["gguf_evaluate_imatrix_plan"]
    assert Path(plan["path"]).stat().st_size == plan["manifest"]["size"]
    assert not list((ROOT / ".imatrices").glob("*/*.part"))


def test_an_importance_matrix_without_some_experts(play: Any) -> None:
    """A text of one letter reaches few of them: that is said, and a recipe that insists on a matrix refuses it."""
    path = FOLDER / "letter.txt"
    path.write_text("a" * 600)
    code, output = play(text=str(path), imatrix=True)
    assert code == 0, output
    plan = facts(output, "localhost")["gguf_evaluate_imatrix_plan"]
    covered = plan["manifest"]["coverage"]
    assert sum(row["without_data"] for row in covered["experts"].values()) > 0
    assert covered["lacking"]
    assert any(not unnamed(warning, covered["lacking"][0]) for warning in warnings(output))
    code, output = play(playbook="quantize", gguf_quantize_recipe="rpi5-16gb-fast", gguf_quantize_imatrix=plan["path"])
    assert code != 0
    assert unnamed(refused(output), "localhost", "gguf_quantize_imatrix") == []
    assert changed(output) == 0


def test_all_of_it_is_known_to_the_removal() -> None:
    found = contents(ROOT)
    assert found.kept == []
    assert {ROOT / ".evaluations", ROOT / ".imatrices"} <= set(found.ours)
    assert [path for path in found.ours if path.name.endswith(".evaluation.json")]
