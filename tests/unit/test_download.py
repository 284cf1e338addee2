"""What is asked of a server before a download, what aria2 gets to do, and what follows from its exit code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import remote as gguf_http
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import remote_source
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.download import (
    CHECKSUM,
    MEANING,
    Link,
    Remote,
    aria2_argv,
    aria2_input,
    file_name,
    link,
    look,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError, ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote_source import SourceError, source_facts
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import fetched_folder
from hub_server import TOKEN, Server
from naming import named, unnamed

CONTENT = b"a model" * 10000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(gguf_http, "PAUSE", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "served").mkdir()
    for name in ("m.gguf", "p-00001-of-00002.gguf", "p-00002-of-00002.gguf"):
        (tmp_path / "served" / name).write_bytes(CONTENT)
    server = Server(tmp_path / "served")
    yield server
    server.close()


def test_a_repository_states_size_and_sha256(server: Server) -> None:
    url = f"{server.hub}/gated/model/resolve/main/m.gguf"
    assert look(url, TOKEN, "") == Remote(url, "m.gguf", SHA256, len(CONTENT), "repository")
    assert [entry["port"] for entry in server.log] == ["hub"]
    with pytest.raises(FetchError) as caught:
        look(url, None, "")
    assert (caught.value.code, caught.value.status) == ("gated", 401)
    with pytest.raises(FetchError) as caught:
        look(url, "hf_another", "")
    assert (caught.value.code, caught.value.status) == ("status", 401)


@pytest.mark.parametrize("manner", ["ranges", "plain", "moved"])
def test_another_server_states_the_size_alone(server: Server, manner: str) -> None:
    url = f"{server.hub}/{manner}/m.gguf"
    assert look(url, None, "ab" * 32) == Remote(url, "m.gguf", "ab" * 32, len(CONTENT), "given")
    with pytest.raises(FetchError) as caught:
        look(url, None, "")
    assert caught.value.code == "sha256"


def test_aria2_gets_a_token_only_for_the_server_that_it_is_for(server: Server) -> None:
    there = link(f"{server.hub}/gated/model/resolve/main/m.gguf", TOKEN)
    assert there.url.startswith(f"{server.store}/signed/ranges/m.gguf?")
    assert not there.with_token
    assert link(f"{server.hub}/gated/m.gguf", TOKEN) == Link(f"{server.hub}/gated/m.gguf", True)
    url = f"{server.hub}/moved/m.gguf"
    server.log.clear()
    assert link(url, None) == Link(url, False)
    assert server.log == []


def test_what_aria2_gets() -> None:
    files = [Remote("u", "a.gguf", "1" * 64, 1, "given"), Remote("v", "b.gguf", "2" * 64, 1, "given")]
    text = aria2_input(files, [Link("http://x/a", True), Link("http://y/b?s=1", False)], Path("/d"), TOKEN)
    assert text.splitlines() == [
        "http://x/a", "  dir=/d", "  out=a.gguf.part", "  checksum=sha-256=" + "1" * 64,
        f"  header=Authorization: Bearer {TOKEN}",
        "http://y/b?s=1", "  dir=/d", "  out=b.gguf.part", "  checksum=sha-256=" + "2" * 64,
    ]  # fmt: skip
    assert TOKEN not in " ".join(aria2_argv(Path("/j/aria2.input"), 8))


@pytest.mark.parametrize(
    "url", ["http://a/", "http://a/b/", "http://a/..", "http://a/%2e%2e", "http://a/x%2f..%2fy%0a"]
)
def test_names_that_are_no_names(url: str) -> None:
    with pytest.raises(FetchError):
        file_name(url)


class World:
    """A quantizer's folder, and the module with options for it; ``receive`` acts as aria2."""

    def __init__(self, code: Any, root: Path, hub: str) -> None:
        self.code, self.root, self.warnings = code, root, []  # type: ignore[var-annotated]
        self.params = {
            "what": "source", "location": "", "sha256": [], "hub": hub, "hub_token": TOKEN, "root": str(root),
            "connections": 4, "rc": 0,
        }  # fmt: skip

    def run(self, state: str, check: bool = False, **params: Any) -> dict[str, Any]:
        self.params.update(params)
        found: dict[str, Any] = self.code.source_result({**self.params, "state": state}, check, self.warnings.append)
        return found

    def info(self, **params: Any) -> dict[str, Any]:
        self.params.update(params)
        location, sha256, hub, token = (self.params[name] for name in ("location", "sha256", "hub", "hub_token"))
        return source_facts(location, sha256, self.root, hub, token, self.warnings.append)

    def receive(self, prepared: dict[str, Any], data: bytes = CONTENT) -> None:
        for file in prepared["files"]:
            (Path(prepared["path"]).parent / (file["name"] + ".part")).write_bytes(data)


@pytest.fixture
def world(plugin: Any, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/aria2c").write_text("")
    (tmp_path / "bin/aria2c").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return World(plugin("modules", "gguf_source"), tmp_path / "models", server.hub)


def test_a_path_is_left_as_it_is(world: World) -> None:
    found = world.info(location="/somewhere/m.gguf")
    assert (found["remote"], found["finished"], found["path"]) == (False, True, "/somewhere/m.gguf")


def test_fetched_once_then_nothing_is_asked_of_the_store(world: World, server: Server) -> None:
    location = "hf://gated/model@main/m.gguf"
    missing = world.info(location=location)
    assert (missing["finished"], missing["missing_bytes"]) == (False, len(CONTENT))
    assert not world.root.exists()
    assert world.run("prepared", check=True)["changed"] is True
    assert not world.root.exists()
    prepared = world.run("prepared")
    secret = Path(prepared["job"]) / "aria2.input"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in secret.read_text()  # the store wants none
    world.receive(prepared)
    published = world.run("published")
    assert (published["finished"], published["changed"]) == (True, True)
    assert Path(published["path"]).read_bytes() == CONTENT
    assert not secret.exists()
    server.log.clear()
    again = world.info()
    assert (again["finished"], again["missing_bytes"]) == (True, 0)
    assert [entry["method"] for entry in server.log] == ["HEAD"]
    server.log.clear()
    world.info(location="hf://gated/model@" + "a" * 40 + "/m.gguf")
    assert world.run("prepared")["finished"]
    server.log.clear()
    assert world.info()["finished"]
    assert server.log == []  # a commit's files cannot change
    assert world.info(location=f"{server.hub}/ranges/m.gguf", sha256=[SHA256])["finished"]
    assert server.log == []


def test_when_nobody_answers_the_earlier_answer_holds(world: World, server: Server) -> None:
    prepared = world.run("prepared", location="hf://open/model@main/m.gguf")
    world.receive(prepared)
    world.run("published")
    server.close()
    assert world.info()["finished"]
    (warning,) = world.warnings
    assert unnamed(warning, f"{server.hub}/open/model/resolve/main/m.gguf") == []


def test_parts(world: World) -> None:
    prepared = world.run("prepared", location="hf://open/model@main/p-00001-of-00002.gguf")
    assert Path(prepared["job"], "aria2.input").read_text().count("checksum=") == 2
    world.receive(prepared)
    published = world.run("published")
    assert published["finished"]
    assert sorted(path.name for path in Path(published["path"]).parent.iterdir()) == [
        "p-00001-of-00002.gguf", "p-00002-of-00002.gguf",
    ]  # fmt: skip
    with pytest.raises(SourceError) as caught:
        world.info(sha256=["1" * 64])
    assert (caught.value.argument, caught.value.code) == ("sha256", "count")
    assert unnamed(caught.value, "p-00001-of-00002.gguf", 2) == []


def test_one_wrong_part_costs_no_other(world: World) -> None:
    location = "hf://open/model@main/p-00001-of-00002.gguf"
    prepared = world.run("prepared", location=location, sha256=[SHA256, "1" * 64])
    world.receive(prepared)
    with pytest.raises(SourceError) as caught:
        world.run("published", rc=CHECKSUM)
    assert (caught.value.argument, caught.value.code) == ("sha256", "sum")
    assert unnamed(caught.value, "p-00002-of-00002.gguf", "1" * 64) == []
    assert not named(caught.value, "p-00001-of-00002.gguf")
    assert [path.name for path in Path(prepared["path"]).parent.iterdir()] == ["p-00001-of-00002.gguf"]
    again = world.run("prepared", sha256=[SHA256, SHA256])
    assert Path(again["job"], "aria2.input").read_text().count("checksum=") == 1


def test_another_sha256_leaves_nothing(world: World, server: Server) -> None:
    prepared = world.run("prepared", location=f"{server.hub}/ranges/m.gguf", sha256=["1" * 64])
    world.receive(prepared)
    with pytest.raises(SourceError) as caught:
        world.run("published", rc=CHECKSUM)
    assert (caught.value.argument, caught.value.code, caught.value.rc) == ("sha256", "sum", CHECKSUM)
    assert unnamed(caught.value, "m.gguf", "1" * 64) == []
    assert list(fetched_folder(world.root, "1" * 64).iterdir()) == []
    assert not (Path(prepared["job"]) / "aria2.input").exists()


@pytest.mark.parametrize("code", [3, 9, -9])
def test_ends_that_another_attempt_does_not_cure(world: World, code: int) -> None:
    world.receive(world.run("prepared", location="hf://open/model@main/m.gguf"), CONTENT[:100])
    with pytest.raises(SourceError) as caught:
        world.run("published", rc=code)
    assert (caught.value.argument, caught.value.code, caught.value.rc) == ("location", "ended", code)
    assert MEANING.get(code, str(code)) in str(caught.value)
    assert world.info()["finished"] is False


def test_attempts_go_on_as_long_as_they_make_progress(world: World) -> None:
    found = world.run("prepared", location="hf://open/model@main/m.gguf")
    part = Path(found["path"] + ".part")
    for _ in range(3):
        world.run("prepared")
        with part.open("ab") as file:
            file.write(bytes(4096))
        found = world.run("published", rc=22)
        assert (found["finished"], unnamed(found["reason"], 22)) == (False, [])
    world.run("prepared")
    assert not world.run("published", rc=22)["finished"]
    with pytest.raises(SourceError) as caught:
        world.run("published", rc=22)
    assert (caught.value.argument, caught.value.code, caught.value.rc) == ("location", "idle", 22)


def test_after_an_attempt_that_failed_the_server_is_asked_how_long_to_wait(world: World, server: Server) -> None:
    """aria2 ends with code 22 where it is put off, and does not say for how long."""
    server.busy, server.retry_after = 0, "40"
    world.run("prepared", location=f"{server.hub}/busy/m.gguf", sha256=[SHA256], hub_token="")
    assert not world.run("published", rc=22)["finished"]
    before = len(server.log)
    server.busy = 1
    with pytest.raises(ServerBusy) as caught:
        world.run("prepared")
    assert caught.value.wait == 40
    assert "argv" in world.run("prepared")
    assert {entry["range"] for entry in server.log[before:]} == {"bytes=0-0"}


def test_a_hub_that_asks_to_wait_is_no_error_of_an_option(world: World, server: Server) -> None:
    server.retry_after = "40"
    with pytest.raises(ServerBusy):
        world.info(location="hf://busy/model@main/m.gguf")
    with pytest.raises(ServerBusy):
        world.run("prepared")
    assert world.info()["missing_bytes"] == len(CONTENT)


def test_a_file_that_changed_later_is_not_trusted(world: World) -> None:
    prepared = world.run("prepared", location="hf://open/model@main/m.gguf")
    world.receive(prepared)
    path = Path(world.run("published")["path"])
    path.write_bytes(CONTENT[:-1] + b"x")
    assert world.info()["finished"] is False


def test_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_source, "free_bytes", lambda path: 512)
    with pytest.raises(SourceError) as caught:
        world.info(location="hf://open/model@main/m.gguf")
    assert (caught.value.argument, caught.value.code) == ("root", "room")
    assert unnamed(caught.value, world.root) == []


def test_errors_name_the_option(world: World, server: Server) -> None:
    for location, token, argument in (
        ("hf://gated/model@main/m.gguf", "hf_wrong", "token"),
        ("hf://open/model@main/gone.gguf", TOKEN, "location"),
        ("hf://nothing", TOKEN, "location"),
        (f"{server.hub}/ranges/m.gguf", TOKEN, "sha256"),
    ):
        with pytest.raises(SourceError) as caught:
            world.info(location=location, hub_token=token)
        assert caught.value.argument == argument
        assert token not in str(caught.value)


def test_without_aria2(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SourceError) as caught:
        world.run("prepared", location="hf://open/model@main/m.gguf")
    assert caught.value.code == "program"
    assert unnamed(caught.value, "aria2c") == []


def test_what_was_noted_is_data(world: World) -> None:
    world.run("prepared", location="hf://open/model@main/m.gguf")
    note = next((world.root / ".sources").glob("*.json"))
    assert json.loads(note.read_text())[0]["sha256"] == SHA256


def test_a_note_of_an_earlier_version_is_understood(world: World, server: Server) -> None:
    world.run("prepared", location="hf://open/model@main/m.gguf")
    note = next((world.root / ".sources").glob("*.json"))
    (entry,) = json.loads(note.read_text())
    del entry["digest_from"]
    server.close()
    for shown in ("shown by the repository", "repository"):
        note.write_text(json.dumps([{**entry, "shown": shown}]))
        assert world.info()["files"][0]["digest_from"] == "repository"
