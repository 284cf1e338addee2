"""Downloads: what a server says about a file, the command that downloads it, and what its exit code means.

aria2 (1.36 was examined) downloads over several connections and resumes an interrupted download by a control file with
the suffix ``.aria2``. It passes a header on to every server it is redirected to. So it gets a token only where the file
is on the very server that the token is for; otherwise it gets the redirect's target, signed and without token.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError, ask, origin, shown

SHA256 = re.compile(r"[0-9a-f]{64}")
# aria2c's exit codes: those after which another attempt may succeed (network trouble, a link that has expired) ...
AGAIN = {1, 2, 5, 6, 7, 19, 22, 24, 29, 31}
# ... and what the others mean.
MEANING = {
    3: "not found; compare repository, revision and file name",
    8: "its server cannot resume",
    9: "the disk is full",
    13: "the file exists already",
    15: "the file on disk cannot be opened",
    16: "the file cannot be written",
    17: "the disk cannot be read or written",
}
CHECKSUM = 32


class Remote(NamedTuple):
    """A file on a server. ``digest_from`` says who named the sha256: ``repository`` or ``given``. ``size``: bytes."""

    url: str
    name: str
    sha256: str
    size: int
    digest_from: str


class Link(NamedTuple):
    """Where aria2 gets a file, and whether it may send the token there."""

    url: str
    with_token: bool


def file_name(url: str) -> str:
    """Return the last part of the URL's path. Raises FetchError where it is no plain name."""
    origin(url)
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or len(name) > 200:
        raise FetchError(f"{shown(url)} does not end in a plain file name", code="url")
    return name


def look(url: str, token: str | None, sha256: str) -> Remote:
    """Ask the server for the file's size and, where ``sha256`` is empty, for its sha256. Raises FetchError.

    A Hugging Face repository states both for a file in its large file storage before it redirects, as
    ``X-Linked-Size`` and ``X-Linked-Etag`` (the object's ID there is its sha256); small files, which Git itself holds,
    have another kind of ID. Other servers state the size alone.
    """
    name = file_name(url)
    if not sha256:
        headers = ask(url, token, stay=True).headers
        etag = headers.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        size = _number(headers.get("x-linked-size", ""))
        if not SHA256.fullmatch(etag) or size < 0:
            raise FetchError(f"{shown(url)}: its server does not state the sha256, so it must be given", code="sha256")
        return Remote(url, name, etag, size, "repository")
    # Not by HEAD, which a signed URL may not allow.
    headers = ask(url, token, byte=True, method="GET").headers
    size = _number(headers.get("content-range", "").rpartition("/")[2])
    if size < 0 and headers[":status"] == "200":
        size = _number(headers.get("content-length", ""))
    if size < 0:
        raise FetchError(f"{shown(url)}: its server does not state the size", code="size")
    return Remote(url, name, sha256, size, "given")


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,18}", text) else -1


def link(url: str, token: str | None) -> Link:
    """Return where aria2 gets ``url``. With a token, redirects are followed here, since aria2 would pass the token on.

    Raises FetchError.
    """
    if not token:
        return Link(url, False)
    there = ask(url, token, byte=True, method="GET").url
    if origin(there) == origin(url):
        return Link(url, True)
    return Link(there, False)


def aria2_input(files: Sequence[Remote], links: Sequence[Link], folder: Path, token: str | None) -> str:
    """Return aria2's input file: what to download and with which sha256. It may hold the token: keep it secret."""
    lines = []
    for remote, where in zip(files, links):
        lines += [where.url, f"  dir={folder}", f"  out={remote.name}.part", f"  checksum=sha-256={remote.sha256}"]
        if where.with_token:
            lines.append(f"  header=Authorization: Bearer {token}")
    return "\n".join(lines) + "\n"


def aria2_argv(input_file: Path, connections: int) -> list[str]:
    """Return the command line. Partial files are continued, and the sha256 of each whole file is checked at the end."""
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
    """Return the bytes that a file takes on the disk; 0 where it does not exist."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
