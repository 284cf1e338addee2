"""Deployments are built beside each other; only pointers and the unit file move."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from naming import named, unnamed


class Refused(Exception):
    """What fail_json was told, with the option that it is about."""

    def __init__(self, msg: str, argument: str) -> None:
        super().__init__(msg)
        self.argument = argument


class Module:
    """As much of AnsibleModule as a deployment asks for."""

    def __init__(self, check_mode: bool = False, **params: Any) -> None:
        self.check_mode = check_mode
        self.params = params

    def fail_json(self, msg: str, argument: str) -> None:
        raise Refused(msg, argument)


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
    (release / "release.json").write_text('{"key": "aaa"}')
    (tmp_path / "engine/current").symlink_to("releases/aaa")
    models = tmp_path / "models"
    models.mkdir()
    (models / "bbb.gguf").write_text("GGUF")
    (models / "bbb.json").write_text('{"sha256": "bbb"}')
    (models / "current.gguf").symlink_to("bbb.gguf")
    return tmp_path


@pytest.fixture
def deployments(plugin: Any, board: Path) -> Any:
    def make(check_mode: bool = False, **params: Any) -> Any:
        defaults = {
            "root": str(board),
            "engine": str(board / "engine/current"),
            "model": str(board / "models/current.gguf"),
            "arguments": [["--port", "8080"]],
            "unit": "[Service]\n",
            "wanted_engine": None,
            "wanted_model": None,
            "port": 0,
            "rollout": "r1",
            "watchdog": "",
            "watch": [],
            "unit_path": str(board / "no-such-unit-in-a-test.service"),
            "restart_due": False,
            "restart_after": [],
        }
        return plugin("modules", "llama_deployment").Deployments(Module(check_mode, **{**defaults, **params}))

    return make


def test_built_once(deployments: Any, board: Path) -> None:
    key, made, diff = deployments().build()
    assert made
    assert "--port 8080" in diff["after"]
    folder = board / "deployments" / key
    assert json.loads((folder / "deployment.json").read_text())["engine"] == "aaa"
    assert (folder / "model").resolve() == board / "models/bbb.gguf"
    assert os.access(folder / "run", os.X_OK)
    assert deployments().build() == (key, False, {})


def test_every_input_makes_another_key(deployments: Any, board: Path) -> None:
    keys = {deployments().build()[0]}
    keys.add(deployments(arguments=[["--port", "8081"]]).build()[0])
    keys.add(deployments(unit="[Unit]\n").build()[0])
    (board / "engine/releases/aaa/release.json").write_text('{"key": "ccc"}')
    keys.add(deployments().build()[0])
    (board / "models/bbb.json").write_text('{"sha256": "ddd"}')
    keys.add(deployments().build()[0])
    assert len(keys) == 5


def test_building_moves_nothing(deployments: Any, board: Path) -> None:
    key = deployments().build()[0]
    assert deployments().pointed("current") == ""
    assert deployments().stale(key)
    assert not (board / "no-such-unit-in-a-test.service").exists()


def test_the_binary_itself_refuses_wrong_arguments(deployments: Any, board: Path) -> None:
    with pytest.raises(Refused) as caught:
        deployments(arguments=[["--prot", "8080"]]).build()
    assert caught.value.argument == "arguments"
    assert unnamed(caught.value, "--prot", "llama_server_extra", "ik_llama_build_version") == []
    assert not (board / "deployments").exists()


def test_keys_that_are_not_written_yet_are_no_wrong_argument(deployments: Any, board: Path) -> None:
    keys = board / "keys"
    arguments = [["--api-key-file", str(keys)], ["--port", "8080"]]
    assert f"--api-key-file {keys}" in deployments(arguments=arguments).build()[2]["after"]
    keys.write_text("key")
    with pytest.raises(Refused) as caught:  # all that this server knows is a port
        deployments(arguments=[*arguments, ["--mlock"]]).build()
    assert caught.value.argument == "arguments"
    assert unnamed(caught.value, "--api-key-file") == []
    assert not named(caught.value, "--mlock")


def test_a_binary_that_does_not_run_is_refused(deployments: Any, board: Path) -> None:
    (board / "engine/current/bin/llama-server").write_text("#!/bin/sh\necho Illegal instruction; exit 132\n")
    with pytest.raises(Refused) as caught:
        deployments().build()
    assert caught.value.argument == "engine"
    assert unnamed(caught.value, board / "engine/releases/aaa/bin/llama-server", "Illegal instruction") == []


def test_pointer_and_unit_move_together_and_back(deployments: Any, board: Path) -> None:
    first = deployments().build()[0]
    second = deployments(unit="[Unit]\n").build()[0]
    unit = board / "no-such-unit-in-a-test.service"
    assert deployments().activate(first)
    assert (deployments().pointed("current"), unit.read_text()) == (first, "[Service]\n")
    assert not deployments().activate(first)
    assert deployments().activate(second)
    assert unit.read_text() == "[Unit]\n"
    assert deployments().activate(first)
    assert (board / "current").resolve() == board / "deployments" / first
    assert deployments().activate("")
    assert deployments().pointed("current") == ""


def test_what_has_answered_is_noted_and_what_did_so_before(deployments: Any, board: Path) -> None:
    first, second, third = (deployments(unit=f"[{name}]\n").build()[0] for name in "abc")
    assert deployments().prove(first)
    assert not deployments().prove(first)
    assert deployments().pointed("previous") == ""
    assert deployments().prove(second)
    assert [deployments().pointed(name) for name in ("proven", "previous")] == [second, first]
    assert (board / "rollout").read_text() == "r1\n"
    assert [deployments().fallback(key) for key in (first, second, third)] == [second, first, second]


def test_a_change_that_was_cut_off_goes_back_to_where_it_began(deployments: Any) -> None:
    first, second, third = (deployments(unit=f"[{name}]\n").build()[0] for name in "abc")
    for key in (first, second):
        deployments().activate(key)
        deployments().prove(key)
    looks = deployments(arguments=[], state="looked", deployment="")
    assert (looks.reach()[0], looks.rollout()) == (first, "r1")
    deployments(rollout="r2").activate(third)
    assert (looks.reach()[0], looks.rollout()) == (second, "r2")
    deployments(rollout="").activate(second)
    assert (looks.reach()[0], looks.rollout()) == (first, "r1")


def test_a_first_change_that_was_cut_off_has_nothing_to_go_back_to(deployments: Any) -> None:
    deployments().activate(deployments().build()[0])
    assert deployments(arguments=[], state="looked", deployment="").reach()[0] == ""


def test_a_pointer_that_was_moved_but_never_proven_is_stale(deployments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = deployments().build()[0]
    deployments().activate(key)
    made = deployments()
    monkeypatch.setattr(made, "process", lambda: (key, 0.0))
    assert made.stale(key)
    made.prove(key)
    assert not made.stale(key)
    made.module.params["restart_due"] = True
    assert made.stale(key)


def test_a_file_that_is_newer_than_the_process_makes_it_stale(
    deployments: Any, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = board / "keys"
    keys.write_text("key")
    os.utime(keys, (1000, 1000))
    made = deployments(restart_after=[str(keys)])
    key = made.build()[0]
    made.activate(key)
    made.prove(key)
    monkeypatch.setattr(made, "process", lambda: (key, 1001.0))
    assert not made.stale(key)
    monkeypatch.setattr(made, "process", lambda: (key, 999.0))
    assert made.stale(key)


def test_nothing_is_gone_back_to_whose_engine_or_model_is_gone(deployments: Any, board: Path) -> None:
    first, second = (deployments(unit=f"[{name}]\n").build()[0] for name in "ab")
    deployments().prove(first)
    assert deployments().fallback(second) == first
    (board / "models/bbb.gguf").unlink()
    assert deployments().fallback(second) == ""


def test_a_deployment_is_asked_where_its_own_options_say(deployments: Any) -> None:
    first = deployments(arguments=[["--port", "8081"], ["--host", "0.0.0.0"], ["--api-key-file", "/k"]])
    assert first.served(first.build()[0]) == {
        "url": "http://127.0.0.1:8081",
        "address": "0.0.0.0",
        "alias": "",
        "api_key_file": "/k",
    }
    assert deployments().served("never made")["url"] == "http://127.0.0.1:8080"


def test_the_watchdog_belongs_to_the_deployment(deployments: Any, board: Path) -> None:
    plain = deployments().build()[0]
    key, _, diff = deployments(watchdog="print()\n", watch=["http://127.0.0.1:8080/health", "30", "9"]).build()
    assert key != plain
    assert (board / "deployments" / key / "watchdog").read_text() == "print()\n"
    started = f"/usr/bin/python3 -I {board}/deployments/{key}/watchdog http://127.0.0.1:8080/health 30 9 &\nexec "
    assert started in diff["after"]


def test_manifests_that_are_no_json_count_as_none(deployments: Any, board: Path) -> None:
    assert deployments().manifests() == ({"key": "aaa"}, {"sha256": "bbb"})
    (board / "models/bbb.json").write_text('{"sha')
    assert deployments().manifests() == ({"key": "aaa"}, {})
    assert deployments(engine=None, model=None).manifests() == ({}, {})


def test_somebody_else_on_the_port_is_named(deployments: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert unnamed(deployments(port=port).port_owner(), os.getpid()) == []
    assert deployments(port=port).port_owner() == ""


def test_what_a_deployment_needs_is_looked_at_before_it_is_gone_back_to(deployments: Any, board: Path) -> None:
    key = deployments().build()[0]
    assert deployments().engine(key) == "aaa"
    (board / "models/bbb.gguf").unlink()
    assert deployments().engine(key) == ""
    assert deployments().engine("") == ""


def test_removing_takes_pointers_and_deployments_and_nothing_else(deployments: Any, board: Path) -> None:
    deployments().activate(deployments().build()[0])
    assert deployments(check_mode=True).remove()
    assert (board / "current").exists()
    assert deployments().remove()
    assert not deployments().remove()
    assert not (board / "deployments").exists()
    assert not (board / "current").is_symlink()
    assert (board / "models/bbb.gguf").exists()


def test_an_unfinished_deployment_is_never_activated(deployments: Any, board: Path) -> None:
    key = deployments().build()[0]
    (board / "deployments" / key / "deployment.json").unlink()
    with pytest.raises(Refused) as caught:
        deployments().activate(key)
    assert caught.value.argument == "deployment"
    assert unnamed(caught.value, key) == []
    assert deployments().build()[1]  # and is made again


def test_check_mode_changes_nothing(deployments: Any, board: Path) -> None:
    key, made, _ = deployments(check_mode=True).build()
    assert made
    assert not (board / "deployments").exists()
    deployments().build()
    assert deployments(check_mode=True).activate(key)
    assert deployments().pointed("current") == ""


def test_what_is_missing_is_an_error_and_in_check_mode_a_note(deployments: Any, board: Path) -> None:
    (board / "engine/current").unlink()
    with pytest.raises(Refused) as caught:
        deployments().build()
    assert caught.value.argument == "engine"
    checked = deployments(check_mode=True)
    assert checked.build()[:2] == ("", True)
    assert len(checked.missing) == 1
    (board / "models/current.gguf").unlink()
    both = deployments(check_mode=True)
    both.build()
    assert both.missing[:-1] == checked.missing


@pytest.mark.parametrize("wanted", ["ccc", ""])
def test_in_check_mode_what_would_be_upgraded_counts_as_not_there_yet(
    deployments: Any, board: Path, wanted: str
) -> None:
    key = deployments().build()[0]
    checked = deployments(check_mode=True, wanted_engine=wanted, wanted_model="bbb", arguments=[["--new-flag"]])
    assert checked.wanted() == ""
    made, changed, diff = checked.build()
    assert (made, changed) == ("", True)
    (engine,) = checked.missing
    assert (diff["before"], unnamed(diff["after"], engine)) == ("", [])
    other = deployments(check_mode=True, wanted_engine="aaa", wanted_model=wanted)
    assert other.build()[0] == ""
    (model,) = other.missing
    assert model != engine
    assert deployments(check_mode=True, wanted_engine="aaa", wanted_model="bbb").build()[0] == key
    assert (
        deployments(wanted_engine=wanted, wanted_model=wanted).build()[0] == key
    )  # made by now, whatever was known before
