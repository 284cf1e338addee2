"""Deployments are built next to each other; only pointers and the unit file move."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.server.deployment import (
    DeploymentError,
    Deployments,
    Inputs,
)
from naming import named, unnamed

UNIT = "no-such-unit-in-a-test.service"
Build = Callable[..., str]
#: A time (epoch) when all files of these tests are old.
LATER = 5e9


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board with an engine release, whose server only reads its arguments, and a model."""
    release = tmp_path / "engine/releases/aaa"
    (release / "bin").mkdir(parents=True)
    server = release / "bin/llama-server"
    server.write_text(
        "#!/bin/sh\n[ $1 = --port ] || echo error: unknown argument: $1 >&2\necho 'usage: [options]'; exit 1\n"
    )
    server.chmod(0o755)
    (release / "release.json").write_text('{"id": "aaa"}')
    (tmp_path / "engine/current").symlink_to("releases/aaa")
    models = tmp_path / "models"
    models.mkdir()
    (models / "bbb.gguf").write_text("GGUF")
    (models / "bbb.json").write_text('{"sha256": "bbb"}')
    (models / "current.gguf").symlink_to("bbb.gguf")
    return tmp_path


@pytest.fixture
def deployments(board: Path, monkeypatch: pytest.MonkeyPatch) -> Deployments:
    """The deployments of a board whose server runs what is in service, since long ago."""
    made = Deployments(str(board), str(board / UNIT))
    monkeypatch.setattr(made, "process", lambda: (made.pointed("current"), 0.0))
    return made


def serve(deployments: Deployments, name: str, rollout: str) -> bool:
    """Put a deployment into service, and mark it as verified."""
    deployments.activate(name, rollout, check_mode=False)
    return deployments.verify(name, rollout, check_mode=False)


@pytest.fixture
def inputs(board: Path) -> Callable[..., Inputs]:
    """Return what a deployment is made from, of this board where nothing else is given."""

    def make(unit: str = "[Service]\n", arguments: Any = (("--port", "8080"),), **files: str) -> Inputs:
        return Inputs(
            str(board / "engine/current"),
            str(board / "models/current.gguf"),
            [list(flag) for flag in arguments],
            {"run": "#!/bin/sh\n", UNIT: unit, **files},
        )

    return make


@pytest.fixture
def build(deployments: Deployments, inputs: Any) -> Build:
    """Build a deployment and return its ID."""
    return lambda *args, **options: deployments.build(inputs(*args, **options), check_mode=False)[0]


def old(board: Path, name: str) -> str:
    """Make a finished deployment of version 0.1 and return its ID."""
    folder = board / "deployments" / name
    folder.mkdir(parents=True)
    (folder / "engine").symlink_to(board / "engine/releases/aaa")
    (folder / "model").symlink_to(board / "models/bbb.gguf")
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / UNIT).write_text(f"[{name}]\n")
    manifest = {"format": 1, "key": name, "engine": "aaa", "model": "bbb", "arguments": [["--port", "9"]], "unit": "u"}
    (folder / "deployment.json").write_text(json.dumps({**manifest, "watchdog": "w", "model_file": "m"}))
    return name


def test_built_once(deployments: Deployments, inputs: Any, board: Path) -> None:
    name, made, diff = deployments.build(inputs(), check_mode=False)
    assert made
    assert diff["after"] == "#!/bin/sh\n"
    folder = board / "deployments" / name
    assert deployments.manifest(name) == {
        "format": 2,
        "id": name,
        "model_file": str(board / "models/bbb.gguf"),
        **inputs().parts(),
    }
    assert (folder / "model").resolve() == board / "models/bbb.gguf"
    assert os.access(folder / "run", os.X_OK)
    assert deployments.build(inputs(), check_mode=False) == (name, False, {})


def test_every_input_makes_another_id(build: Build, board: Path) -> None:
    names = {build(), build(arguments=[["--port", "8081"]]), build(unit="[Unit]\n"), build(watchdog="print()\n")}
    (board / "engine/releases/aaa/release.json").write_text('{"id": "ccc"}')
    names.add(build())
    (board / "models/bbb.json").write_text('{"sha256": "ddd"}')
    names.add(build())
    assert len(names) == 6


def test_the_id_of_a_release_has_its_old_name_too(inputs: Any, board: Path) -> None:
    before = inputs().id()
    (board / "engine/releases/aaa/release.json").write_text('{"key": "aaa"}')
    assert inputs().id() == before


def test_building_moves_nothing(deployments: Deployments, build: Build, board: Path) -> None:
    name = build()
    assert deployments.pointed("current") == ""
    assert deployments.stale(name)
    assert not (board / UNIT).exists()


def test_the_binary_itself_refuses_wrong_arguments(build: Build, board: Path) -> None:
    with pytest.raises(DeploymentError) as caught:
        build(arguments=[["--prot", "8080"]])
    assert caught.value.argument == "arguments"
    assert unnamed(caught.value, "--prot", "llama_server_extra", "ik_llama_build_version") == []
    assert not (board / "deployments").exists()


def test_keys_that_are_not_written_yet_are_no_wrong_argument(build: Build, board: Path) -> None:
    keys = board / "keys"
    arguments = [["--api-key-file", str(keys)], ["--port", "8080"]]
    assert build(arguments=arguments)
    keys.write_text("key")
    with pytest.raises(DeploymentError) as caught:  # all that this server knows is a port
        build(arguments=[*arguments, ["--mlock"]])
    assert caught.value.argument == "arguments"
    assert unnamed(caught.value, "--api-key-file") == []
    assert not named(caught.value, "--mlock")


def test_a_binary_that_does_not_run_is_refused(build: Build, board: Path) -> None:
    (board / "engine/current/bin/llama-server").write_text("#!/bin/sh\necho Illegal instruction; exit 132\n")
    with pytest.raises(DeploymentError) as caught:
        build()
    assert caught.value.argument == "engine"
    assert unnamed(caught.value, board / "engine/releases/aaa/bin/llama-server", "Illegal instruction") == []


def test_pointer_and_unit_move_together_and_back(deployments: Deployments, build: Build, board: Path) -> None:
    first, second = build(), build(unit="[Unit]\n")
    unit = board / UNIT
    assert deployments.activate(first, "r", check_mode=False)
    assert (deployments.pointed("current"), unit.read_text()) == (first, "[Service]\n")
    assert not deployments.activate(first, "r", check_mode=False)
    assert deployments.activate(second, "r", check_mode=False)
    assert unit.read_text() == "[Unit]\n"
    assert deployments.activate(first, "r", check_mode=False)
    assert (board / "current").resolve() == board / "deployments" / first
    assert deployments.activate("", "r", check_mode=False)
    assert deployments.pointed("current") == ""


def test_a_deployment_that_has_answered_is_verified_and_the_one_before_it_previous(
    deployments: Deployments, build: Build, board: Path
) -> None:
    first, second, third = (build(unit=f"[{name}]\n") for name in "abc")
    assert serve(deployments, first, "r1")
    assert not serve(deployments, first, "r1")
    assert deployments.pointed("previous") == ""
    assert serve(deployments, second, "r1")
    assert [deployments.pointed(name) for name in ("verified", "previous")] == [second, first]
    assert (board / "rollout").read_text() == "r1\n"
    assert [deployments.fallback(name) for name in (first, second, third)] == [second, first, second]


@pytest.mark.parametrize("other", ["current", "process"])
def test_only_what_is_in_service_and_runs_is_marked_as_verified(
    deployments: Deployments, build: Build, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Another controller has changed the board since this one started its deployment."""
    first, second = build(), build(unit="[Unit]\n")
    serve(deployments, first, "r1")
    deployments.activate(second if other == "process" else first, "r2", check_mode=False)
    runs = first if other == "process" else second
    monkeypatch.setattr(deployments, "process", lambda: (runs, 0.0))
    with pytest.raises(DeploymentError) as raised:
        deployments.verify(second, "r2", check_mode=False)
    assert raised.value.argument == "id"
    assert deployments.pointed("verified") == first


def test_a_rollout_that_was_interrupted_goes_back_to_where_it_began(deployments: Deployments, build: Build) -> None:
    first, second, third = (build(unit=f"[{name}]\n") for name in "abc")
    for name in (first, second):
        serve(deployments, name, "r1")
    assert (deployments.before(), deployments.rollout()) == (first, "r1")
    deployments.activate(third, "r2", check_mode=False)
    assert (deployments.before(), deployments.rollout()) == (second, "r2")
    deployments.activate(second, "", check_mode=False)
    assert (deployments.before(), deployments.rollout()) == (first, "r1")


def test_a_first_rollout_that_was_interrupted_has_nothing_to_go_back_to(deployments: Deployments, build: Build) -> None:
    deployments.activate(build(), "r1", check_mode=False)
    assert deployments.before() == ""


def test_a_pointer_that_was_moved_but_never_verified_is_stale(
    deployments: Deployments, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = build()
    deployments.activate(name, "r1", check_mode=False)
    monkeypatch.setattr(deployments, "process", lambda: (name, LATER))
    assert deployments.stale(name)
    deployments.verify(name, "r1", check_mode=False)
    assert not deployments.stale(name)


def test_a_file_that_is_newer_than_the_process_makes_it_stale(
    deployments: Deployments, build: Build, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = board / "keys"
    keys.write_text("key")
    os.utime(keys, (LATER, LATER))
    name = build()
    deployments.activate(name, "r1", check_mode=False)
    deployments.verify(name, "r1", check_mode=False)
    monkeypatch.setattr(deployments, "process", lambda: (name, LATER + 1))
    assert not deployments.stale(name, str(keys))
    monkeypatch.setattr(deployments, "process", lambda: (name, LATER - 1))
    assert deployments.stale(name, str(keys))
    assert not deployments.stale(name)
    monkeypatch.setattr(deployments, "process", lambda: (name, 999.0))
    assert deployments.stale(name)


@pytest.mark.parametrize("name", ["run", UNIT, "watchdog", "deployment.json", "engine", "model"])
def test_what_somebody_changed_is_noticed_and_repaired(
    name: str, deployments: Deployments, inputs: Any, build: Build, board: Path
) -> None:
    deployment = build(watchdog="#!/bin/sh\n")
    folder = deployments.folder(deployment)
    before = {path.name: os.readlink(path) if path.is_symlink() else path.read_text() for path in folder.iterdir()}
    assert deployments.altered(deployment) == []
    changed = folder / name
    if changed.is_symlink():
        changed.unlink()
        changed.symlink_to(board / "models")
    elif name == "deployment.json":
        changed.write_text(changed.read_text().replace("8080", "8081"))
    else:
        changed.write_text(changed.read_text() + "# by hand\n")
    assert deployments.altered(deployment) == [name]
    made = inputs(watchdog="#!/bin/sh\n")
    assert deployments.build(made, check_mode=True)[:2] == (deployment, True)
    assert deployments.altered(deployment) == [name]
    assert deployments.build(made, check_mode=False)[:2] == (deployment, True)
    after = {path.name: os.readlink(path) if path.is_symlink() else path.read_text() for path in folder.iterdir()}
    assert after == before
    assert os.access(folder / "run", os.X_OK)
    assert deployments.build(made, check_mode=False)[:2] == (deployment, False)


def test_a_file_that_was_removed_or_replaced_by_a_link_is_changed_too(deployments: Deployments, build: Build) -> None:
    folder = deployments.folder(deployment := build())
    (folder / "run").rename(folder / "moved")
    assert deployments.altered(deployment) == ["run"]
    (folder / "run").symlink_to("moved")
    assert deployments.altered(deployment) == ["run"]
    assert deployments.altered("") == deployments.altered("000000000000") == []


def test_nothing_is_gone_back_to_whose_engine_or_model_is_gone(
    deployments: Deployments, build: Build, board: Path
) -> None:
    first, second = (build(unit=f"[{name}]\n") for name in "ab")
    serve(deployments, first, "r1")
    assert deployments.release(first) == "aaa"
    assert deployments.fallback(second) == first
    (board / "models/bbb.gguf").unlink()
    assert deployments.fallback(second) == ""
    assert deployments.release(first) == deployments.release("") == ""


def test_a_deployment_is_asked_where_its_own_options_say(deployments: Deployments, build: Build) -> None:
    name = build(arguments=[["--port", "8081"], ["--host", "0.0.0.0"], ["--api-key-file", "/k"]])
    served = deployments.served(name)
    assert (served["url"], served["api_key_file"]) == ("http://127.0.0.1:8081", "/k")
    assert deployments.served("never made")["url"] == "http://127.0.0.1:8080"


def test_only_files_with_a_text_are_made(build: Build, board: Path) -> None:
    plain = build(watchdog="")
    assert plain == build()
    watched = build(watchdog="print()\n")
    assert (board / "deployments" / watched / "watchdog").read_text() == "print()\n"
    assert not (board / "deployments" / plain / "watchdog").exists()


def test_manifests_that_are_no_json_count_as_none(inputs: Any, board: Path) -> None:
    assert (inputs().release_manifest, inputs().model_manifest) == ({"id": "aaa"}, {"sha256": "bbb"})
    (board / "models/bbb.json").write_text('{"sha')
    assert inputs().model_manifest == {}
    assert inputs().missing() == ["model"]
    assert Inputs("", "", [], {}).missing() == ["engine release", "model"]


@pytest.mark.parametrize(
    ("release", "model", "missing"),
    [
        (None, None, []),
        ("aaa", "bbb", []),
        ("ccc", "bbb", ["engine release"]),
        ("aaa", "ccc", ["model"]),
        ("", "", ["engine release", "model"]),
    ],
)
def test_another_engine_or_model_than_is_to_be_made_counts_as_missing(
    inputs: Any, release: str | None, model: str | None, missing: list[str]
) -> None:
    assert inputs().missing(release, model) == missing


@pytest.mark.parametrize(("gone", "argument"), [("engine/current", "engine"), ("models/current.gguf", "model")])
def test_without_engine_or_model_nothing_is_built(build: Build, board: Path, gone: str, argument: str) -> None:
    (board / gone).unlink()
    with pytest.raises(DeploymentError) as caught:
        build()
    assert caught.value.argument == argument
    assert unnamed(caught.value, board / gone) == []


def test_removing_takes_pointers_and_deployments_and_nothing_else(
    deployments: Deployments, build: Build, board: Path
) -> None:
    deployments.activate(build(), "r1", check_mode=False)
    assert deployments.remove(check_mode=True)
    assert (board / "current").exists()
    (board / "proven").symlink_to("deployments/x")
    assert deployments.remove(check_mode=False)
    assert not deployments.remove(check_mode=False)
    assert {path.name for path in board.iterdir()} == {"engine", "models", UNIT}


def test_what_cannot_serve_any_more_is_removed(deployments: Deployments, build: Build, board: Path) -> None:
    first, second, third, fourth = (build(arguments=[["--port", str(port)]]) for port in range(8080, 8084))
    serve(deployments, second, "r")
    serve(deployments, third, "r")
    for gone in (first, second):
        (deployments.folder(gone) / "model").unlink()
    assert deployments.prune(check_mode=True)
    assert deployments.folder(first).exists()
    assert deployments.prune(check_mode=False)
    there = {folder.name for folder in (board / "deployments").iterdir()}
    assert there == {second, third, fourth}
    assert not deployments.prune(check_mode=False)


def test_an_unfinished_deployment_is_never_activated(
    deployments: Deployments, inputs: Any, build: Build, board: Path
) -> None:
    name = build()
    (board / "deployments" / name / "deployment.json").unlink()
    with pytest.raises(DeploymentError) as caught:
        deployments.activate(name, "r1", check_mode=False)
    assert caught.value.argument == "id"
    assert unnamed(caught.value, name) == []
    assert deployments.build(inputs(), check_mode=False)[1]  # and is made again


def test_another_unit_of_that_name_is_not_overwritten(deployments: Deployments, build: Build, board: Path) -> None:
    name = build()
    (board / UNIT).write_text("[Service]\nExecStart=/usr/bin/llama-server\n")
    assert unnamed(deployments.unit_problem(), board / UNIT, "/usr/bin/llama-server") == []
    with pytest.raises(DeploymentError) as caught:
        deployments.activate(name, "r1", check_mode=False)
    assert caught.value.argument == "unit_path"
    assert "/usr/bin/llama-server" in (board / UNIT).read_text()
    assert deployments.pointed("current") == ""


def test_check_mode_changes_nothing(deployments: Deployments, inputs: Any, build: Build, board: Path) -> None:
    name, made, _ = deployments.build(inputs(), check_mode=True)
    assert made
    assert not (board / "deployments").exists()
    assert build() == name
    assert deployments.activate(name, "r1", check_mode=True)
    assert deployments.verify(name, "r1", check_mode=True)
    assert deployments.pointed("current") == deployments.pointed("verified") == ""


# --- What version 0.1 left on a board ---------------------------------------------------------------------------------


def test_names_of_version_0_1_are_read(deployments: Deployments, board: Path) -> None:
    name = old(board, "k1")
    (board / "proven").symlink_to("deployments/k1")
    assert deployments.pointed("verified") == name
    manifest = deployments.manifest(name)
    assert (manifest["id"], manifest["release"], manifest["model"], manifest["files"]) == ("k1", "aaa", "bbb", {})
    assert deployments.served(name)["url"] == "http://127.0.0.1:9"
    assert deployments.release(name) == "aaa"


def test_the_pointer_of_version_0_1_is_renamed_once(deployments: Deployments, board: Path) -> None:
    old(board, "k1")
    (board / "proven").symlink_to("deployments/k1")
    assert deployments.rename_pointers()
    assert not deployments.rename_pointers()
    assert deployments.pointed("verified") == "k1"
    assert not (board / "proven").is_symlink()
    (board / "proven").symlink_to("deployments/k0")  # both: the new one is newer
    assert deployments.rename_pointers()
    assert deployments.pointed("verified") == "k1"
    assert not (board / "proven").is_symlink()


def test_a_board_of_version_0_1_changes_once_and_goes_back(
    deployments: Deployments, build: Build, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("k0", "k1"):
        old(board, name)
    for pointer, name in (("current", "k1"), ("proven", "k1"), ("previous", "k0")):
        (board / pointer).symlink_to(f"deployments/{name}")
    (board / "rollout").write_text("r0\n")
    (board / UNIT).write_text("[k1]\n")
    assert (deployments.before(), deployments.rollout()) == ("k0", "r0")
    name = build()
    assert deployments.fallback(name) == "k1"
    deployments.rename_pointers()
    deployments.activate(name, "r1", check_mode=False)
    assert deployments.before() == "k1"  # interrupted here
    deployments.verify(name, "r1", check_mode=False)
    monkeypatch.setattr(deployments, "process", lambda: (name, LATER))
    assert not deployments.stale(name)
    assert deployments.before() == "k1"
    assert deployments.activate("k1", "r2", check_mode=False)
    assert (board / UNIT).read_text() == "[k1]\n"
    assert (board / "current").resolve() == board / "deployments/k1"
