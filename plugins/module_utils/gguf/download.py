"""Downloads: what a server says of a file, the command that fetches it, and what its end means.

aria2 (1.36 was looked at) downloads over several connections and resumes what was broken off by the ``.aria2`` file
that it keeps beside. It passes a header on to every server it is redirected to, so a token reaches it only where the
file lies on the very server that the token is for; otherwise it gets the redirect's target, signed and without token.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError, ask, origin, shown

SHA256 = re.compile(r"[0-9a-f]{64}")
# aria2c's exit codes: what another attempt may cure (network trouble, a link that has expired) ...
AGAIN = {1, 2, 5, 6, 7, 19, 22, 24, 29, 31}
# ... and what the others mean.
MEANING = {
    3: "it is not there; compare repository, revision and file name",
    8: "its server cannot resume",
    9: "the disk is full",
    13: "the file exists already",
    15: "the file on disk cannot be opened",
    16: "the file cannot be written",
    17: "the disk cannot be read or written",
}
CHECKSUM = 32


class Remote(NamedTuple):
    """A file on a server. ``told`` says who named the sha256 (``repository`` or ``given``); ``size`` is in bytes."""

    url: str
    name: str
    sha256: str
    size: int
    told: str


class Link(NamedTuple):
    """Where aria2 shall get a file, and whether the token belongs there."""

    url: str
    with_token: bool


def file_name(url: str) -> str:
    """The last part of the URL's path. Raises FetchError where it is no plain name."""
    origin(url)
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or len(name) > 200:
        raise FetchError(f"{shown(url)} does not end in a plain file name", code="url")
    return name


def look(url: str, token: str | None, sha256: str) -> Remote:
    """Ask the server about the file: its size and, where ``sha256`` is empty, that too. Raises FetchError.

    A Hugging Face repository tells both of a file in its large file storage before it redirects, as ``X-Linked-Size``
    and ``X-Linked-Etag`` (the object's id there is its sha256); small files, which Git itself holds, have another kind
    of id. Other servers tell the size alone.
    """
    name = file_name(url)
    if not sha256:
        told = ask(url, token, stay=True).headers
        etag = told.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        size = _number(told.get("x-linked-size", ""))
        if not SHA256.fullmatch(etag) or size < 0:
            raise FetchError(
                f"{shown(url)}: its server does not tell the file's sha256, so it must be given", code="sha256"
            )
        return Remote(url, name, etag, size, "repository")
    # Not by HEAD, which a signed URL may not be good for.
    told = ask(url, token, byte=True, method="GET").headers
    size = _number(told.get("content-range", "").rpartition("/")[2])
    if size < 0 and told[":status"] == "200":
        size = _number(told.get("content-length", ""))
    if size < 0:
        raise FetchError(f"{shown(url)}: its server does not say how large it is", code="size")
    return Remote(url, name, sha256, size, "given")


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,18}", text) else -1


def link(url: str, token: str | None) -> Link:
    """Follow the redirects of ``url`` where a token is in play, since aria2 would take it along. Raises FetchError."""
    if not token:
        return Link(url, False)
    there = ask(url, token, byte=True, method="GET").url
    if origin(there) == origin(url):
        return Link(url, True)
    return Link(there, False)


def aria2_input(files: Sequence[Remote], links: Sequence[Link], folder: Path, token: str | None) -> str:
    """aria2's input file: what to fetch, by whom, and which sha256 it must have. May hold the token: keep it secret."""
    lines = []
    for remote, where in zip(files, links):
        lines += [where.url, f"  dir={folder}", f"  out={remote.name}.part", f"  checksum=sha-256={remote.sha256}"]
        if where.with_token:
            lines.append(f"  header=Authorization: Bearer {token}")
    return "\n".join(lines) + "\n"


def aria2_argv(input_file: Path, connections: int) -> list[str]:
    """The command line. What is there is checked and continued; the sha256 of each whole file is checked at the end."""
    return [
        "aria2c",
        "--no-conf=true",
        f"--input-file={input_file}",
        f"--max-connection-per-server={connections}",
        f"--split={connections}",
        "--min-split-size=16M",
        "--max-concurrent-downloads=1",
        "--file-allocation=none",
        "--auto-save-interval=5",
        "--auto-file-renaming=false",
        "--allow-overwrite=true",
        "--check-integrity=true",
        "--max-tries=5",
        "--retry-wait=2",
        "--connect-timeout=30",
        "--timeout=60",
        "--summary-interval=5",
        "--show-console-readout=false",
        "--console-log-level=error",
        "--download-result=hide",
        "--enable-color=false",
    ]


def present_bytes(path: Path) -> int:
    """Bytes of a file that really take room on the disk; 0 where it is not there."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
