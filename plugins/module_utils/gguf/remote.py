"""A file on a web server, read piece by piece: only what is asked for is fetched.

A server that asks to wait is waited for: some seconds here, a longer time by the action plugin, which can show it.
Uses HTTP range requests (RFC 9110, section 14), so that the header of a 37 GB model costs some MB. Redirects are
followed; an access token is sent to the server that was named and to no other one. A broken connection is resumed.
Errors are sentences for the user and contain neither the token nor the query of a URL, which may be a signature.
"""

from __future__ import annotations

import http.client
import math
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import IO, Any, NamedTuple

TIMEOUT = 30.0  # seconds without a byte
TOTAL_TIMEOUT = 900.0  # seconds for all that is read of one file
TRIES = 5  # requests in a row that receive nothing
PAUSE = 0.5  # seconds before the first repetition, doubled each time
SILENT = 5.0  # seconds: a longer pause that a server asks for is left to the caller, who can show it
LONGEST = 1e9  # seconds: what a server may ask for at most
WINDOWS = (1 << 20, 2 << 20, 4 << 20)  # bytes of the first requests; the last holds for all later ones
PIECE = 256 << 10
SMALL = 4 << 20  # bytes of an answer that is read whole
AGENT = "ik-llama-pi"


class FetchError(OSError):
    """A file cannot be read from its server; the text says why.

    ``status`` is the HTTP status, 0 if there was none. ``code`` is one word for what is wrong.
    """

    def __init__(self, text: str, status: int = 0, code: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.code = code


class ServerBusy(Exception):
    """The server asks to wait, longer than without a word to the user.

    No OSError, so that it passes through all that explains errors. ``server``: its name. ``wait``: seconds.
    """

    def __init__(self, url: str, status: int, wait: float) -> None:
        self.server = urllib.parse.urlsplit(url).hostname or ""
        self.wait = math.ceil(wait)
        super().__init__(
            f"{shown(url)}: the server asks to wait {self.wait} s (status {status}). Run again after that time."
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Return what a module that fails for this reason returns, for its action plugin."""
        return {"msg": str(self), "server": self.server, "retry_after": self.wait}


def shown(url: str) -> str:
    """Return the URL as it may be shown: without user, password, query and fragment."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of the server. Raises FetchError if ``url`` is no HTTP(S) URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchError("not a usable URL; it must look like https://host/path", code="url") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError(f"{shown(url)} is not a URL like https://host/path", code="url")
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in url):
        raise FetchError(f"{shown(url)!r} has spaces or characters that a URL must encode as %XX", code="url")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects with GET and HEAD; the token stays with the server that it is for."""

    max_redirections = 10

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        newurl = newurl.replace(" ", "%20")
        scheme = origin(newurl)[0]
        if req.type == "https" and scheme != "https":
            raise FetchError(
                f"{shown(req.full_url)} redirects to {shown(newurl)}, which is not encrypted", code="downgrade"
            )
        new = urllib.request.Request(newurl, headers=dict(req.headers), method=req.get_method())
        if origin(newurl) != origin(req.full_url):
            new.remove_header("Authorization")
        return new


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only within the server, so that its own word about the file is seen."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if origin(newurl) != origin(req.full_url):
            return None
        return urllib.request.Request(newurl, headers=dict(req.headers), method=req.get_method())


#: What Hugging Face says in the header X-Error-Code (huggingface_hub, utils/_http.py), by word and sentence. It answers
#: 401 for a public repository that does not exist, and 401 or 403 for one whose terms were not accepted.
HUB_ERRORS = {
    "RepoNotFound": (
        "location",
        "is in no repository that the hub has or shows to this token; compare OWNER/NAME",
    ),
    "RevisionNotFound": ("location", "is in a revision that the repository does not have; compare what follows @"),
    "EntryNotFound": ("entry", "is not in the repository; compare the name of the file"),
    "GatedRepo": (
        "gated",
        "is gated: accept the terms on the model's page, with the account of the access token, and give that token",
    ),
}


def _explained(url: str, error: Exception) -> FetchError:
    if isinstance(error, FetchError):
        return error
    where = shown(url)
    if isinstance(error, urllib.error.HTTPError):
        if (said := error.headers.get("X-Error-Code", "")) in HUB_ERRORS:
            code, meaning = HUB_ERRORS[said]
            return FetchError(f"{where} {meaning} ({error.code})", error.code, code)
        meaning = {
            401: "requires an access token, or another one (401)",
            403: "is forbidden (403); the token may lack access, or the terms of the model were not accepted",
            404: "not found (404); compare repository, revision and file name",
        }.get(error.code, f"was answered with status {error.code}")
        return FetchError(f"{where} {meaning}", error.code, "status")
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return FetchError(f"{where} cannot be reached: {reason or type(error).__name__}", code="unreachable")


_TRANSIENT = (urllib.error.URLError, http.client.HTTPException, OSError)


def _worth_a_retry(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 425, 429, 500, 502, 503, 504)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return not isinstance(reason, (FetchError, ssl.SSLCertVerificationError))


def _reset(rate_limit: str) -> str:
    """Return in how many seconds a used-up limit is reset, of the header ``RateLimit`` (``"resolvers";r=0;t=55``).

    Source: draft-ietf-httpapi-ratelimit-headers-09, and "Rate limits" in the documentation of the Hugging Face Hub.
    """
    left, reset = (re.search(rf";\s*{name}\s*=\s*(\d+)", rate_limit) for name in "rt")
    return reset[1] if left and reset and int(left[1]) == 0 else ""


def _pause(error: Exception, attempt: int) -> float:
    """Return how many seconds to wait: as long as the server asks for, else a little more.

    It asks by Retry-After (RFC 9110), or as the Hugging Face Hub does, by RateLimit.
    Raises ServerBusy where it asks for longer than SILENT.
    """
    if isinstance(error, urllib.error.HTTPError):
        asked = (error.headers.get("Retry-After") or _reset(error.headers.get("RateLimit", ""))).strip()
        try:
            number = re.fullmatch(r"[0-9]+", asked)
            left = float(asked) if number else parsedate_to_datetime(asked).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return float(PAUSE * 2**attempt)
        if left > SILENT:
            raise ServerBusy(error.url or "", error.code, min(left, LONGEST)) from None
        return max(left, PAUSE)
    return float(PAUSE * 2**attempt)


def request(
    url: str, token: str | None, headers: Mapping[str, str] | None = None, method: str = "GET", stay: bool = False
) -> Any:
    """Send one request and return the response, whose body is still to be read. Raises FetchError and what
    ``urllib.request`` raises. With ``stay`` a redirect to another server is the response."""
    origin(url)
    asked = urllib.request.Request(url, method=method)
    for name, value in {"User-Agent": AGENT, "Accept-Encoding": "identity", **(headers or {})}.items():
        asked.add_header(name, value)
    if token:
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise FetchError("the access token contains spaces or non-ASCII characters", code="token")
        asked.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(_Stay if stay else _Redirects)
    try:
        return opener.open(asked, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if stay and error.code in (301, 302, 303, 307, 308):
            return error
        raise


class Answer(NamedTuple):
    """What a server says of a file: ``headers`` by lower-case name, ``url`` where it is after all redirects."""

    url: str
    headers: dict[str, str]


def ask(url: str, token: str | None, method: str = "HEAD", stay: bool = False, byte: bool = False) -> Answer:
    """Ask about a file without fetching it; ``byte`` asks for its first byte alone.

    Raises FetchError, and ServerBusy.
    """
    for attempt in range(TRIES):
        try:
            extra = {"Range": "bytes=0-0"} if byte else {}
            with request(url, token, extra, method, stay) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.geturl(), {**headers, ":status": str(response.status)})
        except _TRANSIENT as error:
            if not _worth_a_retry(error) or attempt == TRIES - 1:
                raise _explained(url, error) from None
            time.sleep(_pause(error, attempt))
    raise AssertionError


def read_small(url: str, token: str | None, limit: int = SMALL) -> tuple[bytes, dict[str, str]]:
    """Return what a server sends, at most ``limit`` bytes, and its headers by lower-case name.

    Raises FetchError, with the code ``size`` for more bytes, and ServerBusy.
    """
    for attempt in range(TRIES):
        try:
            with request(url, token) as response:
                content = response.read(limit + 1)
                headers = {name.lower(): value for name, value in response.headers.items()}
        except _TRANSIENT as error:
            if not _worth_a_retry(error) or attempt == TRIES - 1:
                raise _explained(url, error) from None
            time.sleep(_pause(error, attempt))
        else:
            if len(content) > limit:
                raise FetchError(f"{shown(url)} has more than {limit} bytes", code="size")
            return content, headers
    raise AssertionError


class RangeFile:
    """A binary file with ``read`` and ``seek`` on an HTTP(S) server.

    ``size`` is the whole file's (bytes), ``transferred`` counts the bytes of bodies that were received. Every method
    raises ServerBusy, and FetchError: also, at once, where the server ignores ranges and would send the whole file.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self._token = token
        self.transferred = 0
        self.size = -1
        self._position = 0
        self._buffer = b""
        self._start = 0  # where in the file the buffer begins
        self._windows = iter(WINDOWS)
        self._window = WINDOWS[0]
        self._deadline = time.monotonic() + TOTAL_TIMEOUT
        self._fill(0)

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes from here on; empty only at the end of the file, as from a file on disk."""
        left = self.size - self._position
        wanted = left if size < 0 else min(size, left)
        pieces = []
        while wanted > 0:
            at = self._position - self._start
            if not 0 <= at < len(self._buffer):
                self._fill(self._position)
                at = 0
            piece = self._buffer[at : at + wanted]
            pieces.append(piece)
            self._position += len(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def _fill(self, start: int) -> None:
        """Fetch the next window, from ``start`` on, however often the connection breaks."""
        self._window = next(self._windows, self._window)
        end = start + self._window - 1
        if self.size >= 0:
            end = min(end, self.size - 1)
        self._start, self._buffer = start, b""
        failures = 0
        while not failures or failures < TRIES:
            before = len(self._buffer)
            try:
                self._receive(start + before, end)
                if self.size >= 0:
                    end = min(end, self.size - 1)
                if len(self._buffer) >= end + 1 - start:
                    return
                error: Exception = http.client.HTTPException("the connection broke")
            except _TRANSIENT as caught:
                error = caught
            if not _worth_a_retry(error):
                raise _explained(self.url, error) from None
            failures = 1 if len(self._buffer) > before else failures + 1
            if time.monotonic() > self._deadline:
                break
            if failures < TRIES:
                time.sleep(_pause(error, failures - 1))
        raise _explained(self.url, error) from None

    def _receive(self, first: int, last: int) -> None:
        """Send one request and add what comes to the buffer."""
        with request(self.url, self._token, {"Range": f"bytes={first}-{last}"}) as response:
            if response.status != 206:
                raise FetchError(
                    f"{shown(self.url)}: no support for range requests (status {response.status}, not 206), so "
                    "the header cannot be read without the whole file; download the file and name its path",
                    response.status,
                    "ranges",
                )
            answered = re.fullmatch(
                r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", response.headers.get("Content-Range", "")
            )
            if not answered or int(answered[1]) != first or not int(answered[2]) <= min(last, int(answered[3]) - 1):
                raise FetchError(
                    f"{shown(self.url)}: its server answers a range request with another range", code="range"
                )
            if self.size not in (-1, int(answered[3])):
                raise FetchError(f"{shown(self.url)} changes while it is read; run again", code="changed")
            self.size = int(answered[3])
            left = int(answered[2]) + 1 - first
            while left > 0:
                piece = response.read1(min(left, PIECE))
                if not piece or time.monotonic() > self._deadline:
                    return
                self._buffer += piece
                self.transferred += len(piece)
                left -= len(piece)
