#!/usr/bin/env python3
"""A web server on 127.0.0.1 for tests of downloads, with the good and the bad manners that servers have.

It has two ports, which are two origins to a client: the hub and, for what is redirected, the store. Paths of the hub::

    /ranges/FILE    served with range requests         /plain/FILE   without them: always the whole file
    /moved/FILE     redirected to the store            /broken/FILE  each answer breaks off after a piece
    /gated/FILE     wants the token                    /slow/FILE    like /ranges, but slowly
    /busy/FILE      the first requests are put off: status 429 and Retry-After; also where "busy" is OWNER
    /OWNER/NAME/resolve/REVISION/FILE   as a Hugging Face repository answers: wants the token where OWNER is "gated",
                    tells X-Linked-Etag (sha256) and X-Linked-Size and redirects to a signed URL in the store

The store refuses requests that carry a token, and signatures that were used up (``uses``), as real stores do. All
requests are kept in ``log``; run as a program it writes them as JSON lines, its ports first, and ends when that file
is removed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_tokenOfTheTests"
#: What the hub answers for the repositories of these owners.
HUB_ERRORS = {
    "nobody": (401, "RepoNotFound"),
    "terms": (403, "GatedRepo"),
    "renamed": (404, "RevisionNotFound"),
    "moved-file": (404, "EntryNotFound"),
}


class Server:
    """The two ports, serving the files of ``folder``. ``broken`` is the length of a piece, ``slow`` bytes/s."""

    def __init__(self, folder: Path, broken: int = 300_000, slow: int = 4_000_000, out: Path | None = None) -> None:
        self.folder, self.broken, self.slow, self.out = folder, broken, slow, out
        self.uses = 1 << 30
        #: How many requests for files below /busy are put off.
        self.busy = 2
        #: What the server asks for then, in seconds or as a date.
        self.retry_after = "1"
        self._log: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.active = 0
        self.used: dict[str, int] = {}
        self._ports = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler(name)) for name in ("hub", "store")]
        self.hub, self.store = (f"http://127.0.0.1:{port.server_address[1]}" for port in self._ports)
        for port in self._ports:
            port.daemon_threads = True
            threading.Thread(target=port.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        for port in self._ports:
            port.shutdown()
            port.server_close()

    @property
    def log(self) -> list[dict[str, Any]]:
        """All requests, once those under way are answered to their end."""
        for _ in range(500):
            if not self.active:
                break
            time.sleep(0.01)
        return self._log

    def begin(self) -> None:
        with self._lock:
            self.active += 1

    def note(self, entry: dict[str, Any], ended: int = 0) -> None:
        with self._lock:
            self.active -= ended
            self._log.append(entry)
            if self.out:
                with self.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")

    def use(self, signature: str) -> bool:
        """Whether the signature still holds."""
        with self._lock:
            self.used[signature] = self.used.get(signature, 0) + 1
            return self.used[signature] <= self.uses

    def _handler(self, name: str) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(_Handler):
            owner = server
            port_name = name

        return Handler


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    port_name = ""
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0])
        token = self.headers.get("Authorization", "")
        self.sent = 0
        self.status = 0
        self.owner.begin()
        try:
            self._answer(path, token)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        self.owner.note(
            {
                "port": self.port_name,
                "method": self.command,
                "path": path,
                "agent": self.headers.get("User-Agent", "").partition("/")[0],
                "range": self.headers.get("Range", ""),
                "token": bool(token),
                "status": self.status,
                "sent": self.sent,
            },
            ended=1,
        )

    def _answer(self, path: str, token: str) -> None:
        manner, _, name = path.lstrip("/").partition("/")
        if self.port_name == "store":
            if token:
                self._refuse(400)
            elif manner == "signed" and not self.owner.use(self.path):
                self._refuse(403)
            else:
                self._file(self.owner.folder / Path(name).name, "ranges" if manner == "signed" else manner)
            return
        resolve = re.fullmatch(r"/([^/]+)/[^/]+/resolve/([^/]+)/(.+)", path)
        if resolve and manner != "busy":
            self._resolve(resolve[1], resolve[3], token)
        elif manner == "moved":
            self._redirect(f"{self.owner.store}/ranges/{urllib.parse.quote(name)}", {})
        elif manner == "gated" and token != f"Bearer {TOKEN}":
            self._refuse(401)
        elif manner == "busy" and self.owner.busy:
            self.owner.busy -= 1
            self._refuse(429, {"Retry-After": self.owner.retry_after})
        elif resolve:
            self._resolve(resolve[1], resolve[3], token)
        elif manner == "busy":
            self._file(self.owner.folder / name, "ranges")
        elif manner in ("ranges", "plain", "broken", "gated", "slow"):
            self._file(self.owner.folder / name, manner)
        else:
            self._refuse(404)

    def _resolve(self, owner: str, name: str, token: str) -> None:
        file = self.owner.folder / name
        if owner in HUB_ERRORS:
            self._refuse(HUB_ERRORS[owner][0], {"X-Error-Code": HUB_ERRORS[owner][1]})
        elif owner == "gated" and token != f"Bearer {TOKEN}":
            self._refuse(401)
        elif not file.is_file():
            self._refuse(404)
        else:
            small = file.stat().st_size < 1 << 30  # the others are holes, read by their headers alone
            etag = hashlib.sha256(file.read_bytes() if small else b"").hexdigest()
            given = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(file.stat().st_size), "ETag": '"xet"'}
            self._redirect(f"{self.owner.store}/signed/{urllib.parse.quote(name)}?s={time.monotonic_ns()}", given)

    def _redirect(self, target: str, headers: dict[str, str]) -> None:
        self._head(302, {"Location": target, "Content-Length": "0", **headers})

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": "0", **(headers or {})})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def _file(self, file: Path, manner: str) -> None:
        if not file.is_file():
            self._refuse(404)
            return
        size = file.stat().st_size
        first, last, status, headers = 0, size - 1, 200, {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if manner != "plain":
            headers["Accept-Ranges"] = "bytes"
            if asked:
                first, last = int(asked[1]), min(int(asked[2] or last), last)
                if first > last:
                    self._refuse(416)
                    return
                status = 206
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._head(status, {**headers, "Content-Length": str(last + 1 - first)})
        if self.command == "HEAD":
            return
        left = last + 1 - first
        if manner == "broken" and left > self.owner.broken:
            left = self.owner.broken
            self.close_connection = True
        with file.open("rb") as content:
            content.seek(first)
            while left:
                piece = content.read(min(left, 64 << 10))
                self.wfile.write(piece)
                self.sent += len(piece)
                left -= len(piece)
                if manner == "slow":
                    time.sleep(len(piece) / self.owner.slow)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path, help="gets a line of JSON for each request, and the ports first")
    parser.add_argument("--slow", type=int, default=4_000_000, help="bytes per second and connection under /slow")
    parser.add_argument("--broken", type=int, default=300_000, help="bytes after which answers under /broken break off")
    parser.add_argument("--uses", type=int, default=1 << 30, help="requests that a signed URL is good for")
    parser.add_argument("--busy", type=int, default=2, help="requests under /busy that are put off")
    parser.add_argument("--retry-after", default="1", help="seconds that clients are asked to wait under /busy")
    parser.add_argument("--life", type=float, default=600, help="seconds after which it ends by itself")
    asked = parser.parse_args()
    server = Server(asked.folder, broken=asked.broken, slow=asked.slow, out=asked.log)
    server.uses, server.busy, server.retry_after = asked.uses, asked.busy, asked.retry_after
    server.note({"hub": server.hub, "store": server.store})
    ends = time.monotonic() + asked.life
    while asked.log.exists() and time.monotonic() < ends:
        time.sleep(0.2)
    server.close()


if __name__ == "__main__":
    main()
