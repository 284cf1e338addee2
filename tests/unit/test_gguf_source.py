"""Headers from paths and URLs, whole and in parts; the servers are real ones on 127.0.0.1."""

from __future__ import annotations

import http.client
import io
import os
import struct
import time
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import remote as gguf_http
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    GGUFError,
    Tensor,
    file_bytes,
    merge_headers,
    part_names,
    read_header,
    tensor_bytes,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import (
    FetchError,
    RangeFile,
    ServerBusy,
    ask,
    origin,
    shown,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import (
    is_url,
    open_source,
    part_locations,
    repository_url,
    resolved,
)
from gguf_files import QWEN35_METADATA, header_bytes, qwen35_tensors
from hub_server import TOKEN, Server
from hypothesis import given, settings
from hypothesis import strategies as st
from naming import unnamed

METADATA: dict[str, Any] = {
    **QWEN35_METADATA,
    # As many bytes as a vocabulary of 248320, in fewer strings, so that reading it takes less time.
    "tokenizer.ggml.tokens": ["a" * 400] * 30000,
}


def model(path: Path, tensors: list[Tensor], metadata: dict[str, Any]) -> None:
    """A model whose weights are a hole."""
    header = header_bytes(metadata, tensors)
    path.write_bytes(header)
    os.truncate(path, file_bytes(len(header), [tensor_bytes(item.type, item.shape) for item in tensors]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("served")
    model(folder / "whole.gguf", qwen35_tensors(), METADATA)
    parts = (qwen35_tensors()[:300], qwen35_tensors()[300:600], qwen35_tensors()[600:])
    for number, tensors in enumerate(parts):
        split = {"split.no": number, "split.count": 3, "split.tensors.count": 733}
        metadata = {**METADATA, **split} if number == 0 else split
        model(folder / f"split-0000{number + 1}-of-00003.gguf", tensors, metadata)
    (folder / "text.gguf").write_text("no model at all" * 100)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_http, "PAUSE", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_path_and_a_url_say_the_same(folder: Path, server: Server) -> None:
    local = open_source(str(folder / "whole.gguf"))
    remote = open_source(f"{server.hub}/ranges/whole.gguf")
    assert remote.header == local.header
    assert len(remote.header.tensors) == 733
    assert remote.size == local.size == (folder / "whole.gguf").stat().st_size > 36 * 10**9
    assert (local.transferred, local.parts) == (0, (str(folder / "whole.gguf"),))
    start = local.header.data_start
    assert start <= remote.transferred < start + (5 << 20)
    assert sum(entry["sent"] for entry in server.log) == remote.transferred


def test_a_server_without_ranges(server: Server) -> None:
    with pytest.raises(FetchError) as caught:
        open_source(f"{server.hub}/plain/whole.gguf")
    assert (caught.value.code, caught.value.status) == ("ranges", 200)
    # What the system's buffers took before the connection was closed.
    assert sum(entry["sent"] for entry in server.log) < 8 << 20


def test_a_redirect_takes_no_token_along(server: Server) -> None:
    assert open_source(f"{server.hub}/moved/whole.gguf", TOKEN, server.hub).header.architecture == "qwen35moe"
    assert {(entry["port"], entry["token"], entry["status"]) for entry in server.log} == {
        ("hub", True, 302), ("store", False, 206),
    }  # fmt: skip
    server.log.clear()
    assert open_source(f"{server.hub}/gated/whole.gguf", TOKEN, server.hub).header.architecture == "qwen35moe"
    assert all(entry["token"] for entry in server.log)
    with pytest.raises(FetchError) as caught:
        open_source(f"{server.hub}/gated/whole.gguf", TOKEN, "https://hub.test")
    assert (caught.value.code, caught.value.status) == ("status", 401)
    assert not server.log[-1]["token"]
    there = open_source("hf://gated/model@v1/whole.gguf", TOKEN, server.hub)
    assert (there.header.architecture, server.log[-2]["path"]) == ("qwen35moe", "/gated/model/resolve/v1/whole.gguf")


def test_a_connection_that_breaks_is_taken_up_where_it_broke(folder: Path, server: Server) -> None:
    remote = open_source(f"{server.hub}/broken/whole.gguf")
    assert remote.header == open_source(str(folder / "whole.gguf")).header
    assert len(server.log) > 10
    assert remote.transferred < remote.header.data_start + (5 << 20)


@pytest.mark.parametrize(
    ("path", "token", "code", "status", "names"),
    [
        ("gated/whole.gguf", None, "status", 401, ["gated/whole.gguf"]),
        ("gated/whole.gguf", "hf_another", "status", 401, ["gated/whole.gguf"]),
        ("ranges/gone.gguf", TOKEN, "status", 404, ["ranges/gone.gguf"]),
        ("ranges/text.gguf", TOKEN, "magic", 0, []),
        ("ranges/split-00002-of-00003.gguf", TOKEN, "later-part", 0, ["split-00001-of-00003.gguf"]),
        ("ranges/with%20token.gguf?token=secret", "a token", "token", 0, []),
    ],
)
def test_errors_are_one_sentence_without_secrets(
    server: Server, path: str, token: str | None, code: str, status: int, names: list[str]
) -> None:
    with pytest.raises((FetchError, GGUFError)) as caught:
        open_source(f"{server.hub}/{path}", token, server.hub)
    assert (getattr(caught.value, "code", ""), getattr(caught.value, "status", 0)) == (code, status)
    assert unnamed(caught.value, *names) == []
    assert "secret" not in str(caught.value)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("owner", "code", "status"),
    [
        ("nobody", "location", 401),
        ("terms", "gated", 403),
        ("renamed", "location", 404),
        ("moved-file", "entry", 404),
    ],
)
def test_the_hub_s_own_reason_is_told(server: Server, owner: str, code: str, status: int) -> None:
    with pytest.raises(FetchError) as caught:
        open_source(f"hf://{owner}/model@v1/whole.gguf", TOKEN, server.hub)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert TOKEN not in str(caught.value)


def test_a_server_that_is_busy_is_waited_for_as_long_as_it_asks(server: Server) -> None:
    begun = time.monotonic()
    assert open_source(f"{server.hub}/busy/whole.gguf").header.architecture == "qwen35moe"
    assert time.monotonic() - begun >= 2


def in_seconds(seconds: float) -> str:
    """The date that this is, as servers write it."""
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("6", 6, 6), ("900", 900, 900), (in_seconds(100_000), 99_000, 100_001), ("9" * 400, 10**9, 10**9)],
)
def test_a_longer_time_is_the_caller_s(server: Server, asked: str, least: int, most: int) -> None:
    """Whoever can show it waits, at the first request and in the middle of a file."""
    server.retry_after = asked
    with pytest.raises(ServerBusy) as caught:
        open_source(f"{server.hub}/busy/whole.gguf?signature=secret", TOKEN, server.hub)
    assert least <= caught.value.wait <= most
    assert len(server.log) == 1
    assert caught.value.facts["retry_after"] == caught.value.wait
    assert caught.value.facts["server"] == "127.0.0.1"
    assert unnamed(caught.value, f"{server.hub}/busy/whole.gguf", caught.value.wait) == []
    assert "secret" not in str(caught.value) and TOKEN not in str(caught.value)
    with pytest.raises(ServerBusy):
        ask(f"{server.hub}/busy/whole.gguf", None)
    file = RangeFile(f"{server.hub}/busy/whole.gguf")
    file.seek(30_000_000)
    server.busy = 1
    with pytest.raises(ServerBusy):
        file.read(1)


@pytest.mark.parametrize("asked", ["", "soon", "-1", "²", "1e3", in_seconds(-1000), "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_what_names_no_time_is_no_reason_to_wait_long(server: Server, asked: str) -> None:
    server.retry_after = asked
    begun = time.monotonic()
    assert ask(f"{server.hub}/busy/whole.gguf", None).headers[":status"] == "200"
    assert time.monotonic() - begun < 2


def test_no_server_at_all(server: Server) -> None:
    url = server.hub
    server.close()
    with pytest.raises(FetchError) as caught:
        open_source(f"{url}/x.gguf")
    assert caught.value.code == "unreachable"
    assert unnamed(caught.value, f"{url}/x.gguf") == []


def test_never_from_encrypted_to_plain() -> None:
    request = urllib.request.Request("https://a.test/x", headers={"Authorization": "Bearer t"})
    with pytest.raises(FetchError) as caught:
        gguf_http._Redirects().redirect_request(request, io.BytesIO(), 302, "", cast(Any, {}), "http://a.test/x")
    assert caught.value.code == "downgrade"
    assert unnamed(caught.value, "https://a.test/x", "http://a.test/x") == []
    shown = gguf_http._Redirects().redirect_request(
        request, io.BytesIO(), 302, "", cast(Any, {}), "https://b.test/x?s=1"
    )
    assert shown is not None
    assert not shown.has_header("Authorization")


@pytest.mark.parametrize("url", ["ftp://a/b", "https://", "http://a b/c", "http://a:99999/x", "http://[::1/x"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(FetchError):
        origin(url)


def test_urls() -> None:
    assert shown("https://user:pw@a.test:8/b?sig=1#f") == "https://a.test:8/b"
    assert is_url("hf://a/b/c") and is_url("HTTPS://a/b") and not is_url("/a/http://b") and not is_url("~/x.gguf")
    assert (
        repository_url("https://hub.test/", "owner/name", "refs/pr/1", "a folder/x.gguf")
        == "https://hub.test/owner/name/resolve/refs%2Fpr%2F1/a%20folder/x.gguf"
    )
    assert resolved("hf://o/n/x.gguf", "http://h") == "http://h/o/n/resolve/main/x.gguf"
    assert resolved("hf://o/n@refs%2Fpr%2F1/a/x.gguf", "http://h") == "http://h/o/n/resolve/refs%2Fpr%2F1/a/x.gguf"
    for wrong in ("hf://o/x.gguf", "hf://o/n@/x", "hf://o/n@a@b/x"):
        with pytest.raises(FetchError):
            resolved(wrong)
    assert part_locations("http://a/b/x-00001-of-00002.gguf?k=v")[1] == "http://a/b/x-00002-of-00002.gguf?k=v"


def test_what_the_repository_says_of_a_file(server: Server) -> None:
    url = repository_url(server.hub, "open/model", "main", "text.gguf")
    answer = ask(url, TOKEN, stay=True)
    assert answer.headers["x-linked-size"] == "1500"
    assert answer.url == url
    assert [entry["port"] for entry in server.log] == ["hub"]


def test_a_split_model(folder: Path, server: Server) -> None:
    whole = open_source(str(folder / "whole.gguf")).header
    local = open_source(str(folder / "split-00001-of-00003.gguf"))
    assert [item.name for item in local.header.tensors] == [item.name for item in whole.tensors]
    assert local.header.tensor_bytes == whole.tensor_bytes
    assert local.size == sum(path.stat().st_size for path in folder.glob("split-*"))
    assert len(local.parts) == 3
    assert open_source(f"{server.hub}/ranges/split-00001-of-00003.gguf").header == local.header


def test_parts_that_are_missing_or_do_not_belong_together(folder: Path, tmp_path: Path, server: Server) -> None:
    one, two, three = (folder / name for name in part_names("split-00001-of-00003.gguf"))
    for path in (one, two):
        os.link(path, tmp_path / path.name)
    with pytest.raises(FileNotFoundError) as missing:
        open_source(str(tmp_path / one.name))
    assert missing.value.filename == str(tmp_path / three.name)
    headers = [open_source(str(folder / "whole.gguf")).header]
    for path in (one, two, three):
        with path.open("rb") as file:
            headers.append(read_header(file))
    whole, first, second, third = headers
    # Of what is wrong: the part, how many were given, and number (from 0) and count that it has itself.
    for wrong, numbers in (
        ([first, third, second], (2, 3, 2, 3)),
        ([first], (1, 1, 0, 3)),
        ([whole, second, third], (1, 3, 0, 0)),
        ([first, second, second], (3, 3, 1, 3)),
    ):
        with pytest.raises(GGUFError) as caught:
            merge_headers(wrong)
        assert caught.value.code == "parts"
        assert unnamed(caught.value, *numbers) == []
    os.link(two, tmp_path / three.name)
    with pytest.raises(GGUFError) as caught:
        open_source(str(tmp_path / one.name))
    assert caught.value.code == "parts"
    assert unnamed(caught.value, 3, 1) == []


@pytest.mark.parametrize("name", ["x-00001-of-00000.gguf", "x-00001-of-99999.gguf", "x-00003-of-00002.gguf"])
def test_names_of_parts_that_cannot_be(name: str) -> None:
    with pytest.raises(GGUFError):
        part_names(name)
    assert part_names("model-Q8_0.gguf") == ("model-Q8_0.gguf",)


class Lying(RangeFile):
    """Answers each request with the next of ``pieces``: (first byte claimed, size claimed, content)."""

    pieces: list[tuple[int, int, bytes]]

    def _receive(self, first: int, last: int) -> None:
        if not self.pieces:
            raise http.client.IncompleteRead(b"")
        start, size, content = self.pieces.pop(0)
        response = io.BytesIO(content)
        response.status = 206  # type: ignore[attr-defined]
        response.headers = {"Content-Range": f"bytes {start}-{start + len(content) - 1}/{size}"}  # type: ignore[attr-defined]
        original = gguf_http.request
        try:
            gguf_http.request = lambda *_: response
            super()._receive(first, last)
        finally:
            gguf_http.request = original


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 300), st.binary(max_size=300)), max_size=6))
def test_servers_that_lie(pieces: Any) -> None:
    """Whatever a server claims, there is a header or one clear error, soon."""

    class File(Lying):
        pass

    File.pieces = list(pieces)
    pause, gguf_http.PAUSE = gguf_http.PAUSE, 0.0
    try:
        file = File("http://127.0.0.1/x.gguf")
        assert file.transferred <= sum(len(content) for _, _, content in pieces)
        read_header(cast(Any, file), file.size)
    except (FetchError, GGUFError) as error:
        assert str(error)
    finally:
        gguf_http.PAUSE = pause


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3) | st.text(max_size=3), st.integers(0, 3)), min_size=1, max_size=3))
def test_parts_that_say_anything_of_themselves(shown: Any) -> None:
    headers = []
    for number, (no, count) in enumerate(shown):
        metadata = {"split.no": no, "split.count": count, "split.tensors.count": len(shown)}
        data = header_bytes(metadata, [Tensor(f"t{number}", (4,), "f32")])
        headers.append(read_header(io.BytesIO(data)))
    try:
        merged = merge_headers(headers)
        assert len(merged.tensors) == len(shown)
        assert len(shown) == 1 or all(pair == (number, len(shown)) for number, pair in enumerate(shown))
    except GGUFError as error:
        assert str(error)


def test_a_header_that_ends_early_over_http(tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 9, 9))
    server = Server(tmp_path)
    try:
        with pytest.raises(GGUFError) as caught:
            open_source(f"{server.hub}/ranges/cut.gguf")
        assert caught.value.code == "truncated"
    finally:
        server.close()
