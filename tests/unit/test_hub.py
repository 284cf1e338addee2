"""The hub of the tests answers as the real one does, and what the project asks a hub for."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import remote
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.hub import SHOWN, explained, repository_files
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import (
    FetchError,
    RangeFile,
    ServerBusy,
    ask,
    read_small,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import open_source, repository_url
from hub_server import TOKEN, Server
from naming import unnamed

CONTENT = b"a model" * 1000
TEMPLATE = b"{{ messages }}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "a folder").mkdir()
    for name in ("a.gguf", "a folder/b.gguf"):
        (tmp_path / name).write_bytes(CONTENT)
    (tmp_path / "template.jinja").write_bytes(TEMPLATE)
    server = Server(tmp_path)
    yield server
    server.close()


def url_of(server: Server, owner: str, file: str, revision: str = "main") -> str:
    return repository_url(server.hub, f"{owner}/model", revision, file)


def refused(url: str, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, headers=headers))
    return caught.value


def test_a_large_file_is_redirected_and_described_before(server: Server) -> None:
    stated = ask(url_of(server, "open", "a.gguf"), None, stay=True).headers
    assert stated["x-linked-etag"].strip('"') == hashlib.sha256(CONTENT).hexdigest()
    assert (stated["x-linked-size"], stated["x-repo-commit"], stated[":status"]) == ("7000", server.commit, "302")
    assert RangeFile(url_of(server, "open", "a folder/b.gguf")).read() == CONTENT
    assert sorted(entry["port"] for entry in server.log) == ["hub", "hub", "store"]


def test_a_small_file_comes_from_the_hub_itself(server: Server) -> None:
    content, headers = read_small(url_of(server, "open", "template.jinja"), None)
    assert content == TEMPLATE
    blob = hashlib.sha1(b"blob %d\0" % len(TEMPLATE) + TEMPLATE).hexdigest()
    assert headers["etag"].strip('"') == blob
    assert sorted((entry["port"], entry["status"]) for entry in server.log) == [("hub", 200), ("hub", 307)]


def test_a_repository_that_was_renamed_is_found(server: Server) -> None:
    assert ask(url_of(server, "former", "a.gguf"), None, stay=True).headers["x-linked-size"] == "7000"


@pytest.mark.parametrize(
    ("owner", "token", "status", "code"),
    [
        ("gated", "", 401, "GatedRepo"),
        ("gated", "hf_another", 401, None),
        ("terms", TOKEN, 403, "GatedRepo"),
        ("nobody", "", 401, "RepoNotFound"),
        ("renamed", "", 404, "RevisionNotFound"),
        ("moved-file", "", 404, "EntryNotFound"),
    ],
)
def test_what_is_refused(server: Server, owner: str, token: str, status: int, code: str | None) -> None:
    error = refused(url_of(server, owner, "a.gguf"), token)
    assert (error.code, error.headers["X-Error-Code"]) == (status, code)
    assert (error.headers["X-Repo-Commit"] is None) == (code != "EntryNotFound")


def test_links_are_signed_and_expire(server: Server) -> None:
    link = ask(url_of(server, "open", "a.gguf"), None, byte=True, method="GET").url
    assert RangeFile(link).read() == CONTENT
    assert refused(link.replace("Signature=", "Signature=0")).code == 403
    assert refused(link, TOKEN).code == 400
    server.link_life = 0.2
    link = ask(url_of(server, "open", "a.gguf"), None, byte=True, method="GET").url
    time.sleep(0.3)
    assert refused(link).code == 403


@pytest.mark.parametrize("owner", ["slow", "broken"])
def test_a_slow_store_and_one_that_breaks_off(server: Server, owner: str) -> None:
    server.broken, server.slow = 2000, 100_000
    assert RangeFile(url_of(server, owner, "a.gguf")).read() == CONTENT
    assert (len([entry for entry in server.log if entry["port"] == "store"]) > 2) == (owner == "broken")


def test_the_list_of_files_comes_in_pages(server: Server) -> None:
    server.page = 2
    names = repository_files(url_of(server, "gated", "gone.gguf"), TOKEN)
    assert names == ["a folder/b.gguf", "a.gguf", "template.jinja"]
    assert [entry["token"] for entry in server.log] == [True, True]
    content, _headers = read_small(f"{server.hub}/api/models/open/model/tree/main?recursive=true", None)
    entry = next(entry for entry in json.loads(content) if entry["path"] == "a folder/b.gguf")
    assert entry["lfs"] == {"oid": hashlib.sha256(CONTENT).hexdigest(), "size": 7000, "pointerSize": 135}
    content, _headers = read_small(f"{server.hub}/api/models/open/model/revision/v1", None)
    assert json.loads(content)["sha"] == server.commit


def test_a_file_that_is_missing_is_answered_with_those_that_are_there(server: Server) -> None:
    with pytest.raises(FetchError) as caught:
        open_source("hf://open/model@main/gone.gguf", TOKEN, server.hub)
    assert (caught.value.code, caught.value.status) == ("entry", 404)
    assert unnamed(caught.value, "gone.gguf", "a.gguf", "a folder/b.gguf") == []
    assert "template.jinja" not in str(caught.value)


def test_a_long_list_is_cut_off(server: Server) -> None:
    for number in range(SHOWN):
        (server.folder / f"c{number:02d}.gguf").write_bytes(b"")
    error = explained(FetchError("gone", 404, "entry"), url_of(server, "open", "gone.gguf"), None)
    assert unnamed(error, f"c{SHOWN - 3:02d}.gguf", 2) == []
    assert f"c{SHOWN - 1:02d}.gguf" not in str(error)


def test_what_is_no_hub_lists_nothing(server: Server) -> None:
    assert repository_files(f"{server.hub}/ranges/a.gguf", None) == []
    error = FetchError("gone", 404, "entry")
    server.close()
    assert explained(error, url_of(server, "open", "gone.gguf"), None) is error


@pytest.mark.parametrize(
    ("limit", "wait"), [('"resolvers";r=0;t=55', 55), ('"api"; r=0 ; t=900', 900), ('"resolvers";r=9;t=55', 0)]
)
def test_a_limit_that_is_used_up_says_when_it_is_reset(server: Server, limit: str, wait: int) -> None:
    server.rate_limit = limit
    url = url_of(server, "busy", "a.gguf")
    if wait:
        with pytest.raises(ServerBusy) as caught:
            ask(url, None, stay=True)
        assert caught.value.wait == wait
    else:
        assert ask(url, None, stay=True).headers["x-linked-size"] == "7000"


def test_an_answer_that_is_too_long(server: Server) -> None:
    with pytest.raises(FetchError) as caught:
        read_small(url_of(server, "open", "template.jinja"), None, limit=4)
    assert caught.value.code == "size"
