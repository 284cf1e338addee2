#!/usr/bin/env python3
"""A model hub on 127.0.0.1 for tests of downloads, and a plain web server with good and bad manners.

It has two ports, which are two origins to a client: the hub and, for what is redirected, the store. The hub answers as
huggingface.co does, by its documentation ("Hub API endpoints", "Rate limits") and by what its client expects
(``huggingface_hub`` 2.4.0: ``file_download.py``, ``hf_api.py``, ``utils/_http.py``)::

    GET  /api/models/OWNER/NAME[/revision/REVISION]           sha and names of the files (``siblings``)
    GET  /api/models/OWNER/NAME/tree/REVISION?recursive=true  size, oid and lfs of each file, in pages (``Link``)
    HEAD, GET /OWNER/NAME/resolve/REVISION/FILE               a large file: 302 to a signed link in the store, with
                  X-Repo-Commit, X-Linked-Etag (its sha256) and X-Linked-Size; a small one: 307 to /api/resolve-cache

Each repository has the files of ``folder`` as its branch ``main``, its tag ``v1`` and one commit. The owner says how it
behaves; other owners are friendly::

    gated     wants the token            terms       has terms that were not accepted: 403
    nobody    has no repository: 401     renamed     has no such revision: 404       moved-file  has no such file: 404
    former    was renamed: 307 to the owner "open"
    busy      puts requests off: 429     slow, broken, plain    the same from its store (see below)
    false-size, false-sha256   states another size or sha256 than that of the file

It takes uploads as well, from whoever has the token (`TOKEN`; `READER` may only read)::

    GET  /api/whoami-v2                                the role of the token
    POST /api/validate-yaml                            the front matter of a model card
    POST /api/repos/create, /api/models/OWNER/NAME/preupload/REVISION
    POST /OWNER/NAME.git/info/lfs/objects/batch        a signed link to the store for each large file that it lacks
    PUT  /upload/SHA256                                in the store, at ``upload_rate`` bytes/s
    POST /api/models/OWNER/NAME/commit/REVISION        all at once become files of ``folder``, and a new commit

A plain server, without sha256, is what answers below these paths, of the hub and of the store::

    /ranges/FILE    served with range requests         /plain/FILE   without them: always the whole file
    /moved/FILE     redirected to the store            /broken/FILE  each answer breaks off after a piece
    /gated/FILE     wants the token                    /slow/FILE    like /ranges, but slowly
    /busy/FILE      the first requests are put off

Requests are put off by 429 with ``Retry-After``, or with ``RateLimit`` as the real hub does. The store refuses requests
that carry a token (400, as S3 does), and signatures that it does not know, that are used up (``uses``) or too old
(``link_life``). All requests are kept in ``log``; run as a program it writes them as JSON lines, its ports first, and
ends when that file is removed.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import secrets
import threading
import time
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_tokenOfTheTests"
READER = "hf_tokenThatMayOnlyRead"
#: What the hub answers for the repositories of these owners.
HUB_ERRORS = {
    "nobody": (401, "RepoNotFound", "Repository not found"),
    "terms": (403, "GatedRepo", "Access to this model is restricted and you are not in the authorized list"),
    "renamed": (404, "RevisionNotFound", "Invalid rev id"),
    "moved-file": (404, "EntryNotFound", "Entry not found"),
}
REVISIONS = ("main", "v1")
#: Owners whose files come from the store in the manner of that name.
STORE_MANNERS = ("slow", "broken", "plain")
#: Files larger than this are holes, read by their headers alone: nobody computes their sha256.
HOLE = 1 << 30
#: What a repository keeps outside of Git.
LARGE = (".gguf", ".dat", ".bin", ".safetensors")


class Server:
    """The two ports, serving the files of ``folder``. ``broken`` is the length of a piece, ``slow`` bytes/s."""

    def __init__(self, folder: Path, broken: int = 300_000, slow: int = 4_000_000, out: Path | None = None) -> None:
        self.folder, self.broken, self.slow, self.out = folder, broken, slow, out
        #: How often, and how many seconds, a signed link can be used.
        self.uses = 1 << 30
        self.link_life = 3600.0
        #: How many requests for files below /busy are put off.
        self.busy = 2
        #: What the server asks for then, in seconds or as a date; ``rate_limit``: in the words of the hub.
        self.retry_after = "1"
        self.rate_limit = ""
        #: Entries of a page of the list of files.
        self.page = 1000
        self.commit = "c0ffee" + "0" * 34
        #: Content of large files that were uploaded, by sha256; what is no part of a commit yet is no file.
        self.uploads: dict[str, bytes] = {}
        self.upload_rate = 1 << 40
        self._log: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._digests: dict[tuple[str, int, int], str] = {}
        self.active = 0
        self.links: dict[str, list[float]] = {}
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

    def sign(self) -> str:
        """Return the query of a new link."""
        signature = secrets.token_hex(8)
        with self._lock:
            self.links[signature] = [time.monotonic() + self.link_life, 0]
        return f"X-Amz-Expires={self.link_life:.0f}&X-Amz-Signature={signature}"

    def use(self, query: str) -> bool:
        """Whether the signature still holds."""
        signature = urllib.parse.parse_qs(query).get("X-Amz-Signature", [""])[0]
        with self._lock:
            if signature not in self.links:
                return False
            self.links[signature][1] += 1
            ends, used = self.links[signature]
            return used <= self.uses and time.monotonic() < ends

    def sha256(self, file: Path) -> str:
        state = file.stat()
        key = (str(file), state.st_size, state.st_mtime_ns)
        with self._lock:
            if key not in self._digests:
                content = file.read_bytes() if state.st_size < HOLE else b""
                self._digests[key] = hashlib.sha256(content).hexdigest()
            return self._digests[key]

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

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

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address, _, self.query = self.path.partition("?")
        path = urllib.parse.unquote(address)
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
        if self.command in ("POST", "PUT") or path == "/api/whoami-v2":
            self._upload(path, token)
            return
        if self.port_name == "store":
            self._store(manner, name, token)
            return
        listed = re.fullmatch(r"/api/models/([^/]+)/([^/]+)(?:/(tree|revision)/([^/]+))?", path)
        resolve = re.fullmatch(r"/([^/]+)/([^/]+)/resolve/([^/]+)/(.+)", path)
        cached = re.fullmatch(r"/api/resolve-cache/models/[^/]+/[^/]+/([^/]+)/(.+)", path)
        if (manner == "busy" or (listed and listed[1] == "busy")) and self.owner.busy:
            self.owner.busy -= 1
            self._put_off()
            return
        if listed:
            self._listed(listed[1], listed[2], listed[3] or "revision", listed[4] or "main", token)
        elif cached:
            file = self.owner.folder / cached[2]
            self._file(file, "ranges", {"ETag": f'"{_git_id(file)}"', "X-Repo-Commit": cached[1]})
        elif resolve:
            self._resolve(resolve[1], resolve[2], resolve[3], resolve[4], token)
        elif manner == "moved":
            self._redirect(f"{self.owner.store}/ranges/{urllib.parse.quote(name)}", {})
        elif manner == "gated" and token != f"Bearer {TOKEN}":
            self._refuse(401)
        elif manner in ("ranges", "plain", "broken", "gated", "slow", "busy"):
            self._file(self.owner.folder / name, "ranges" if manner == "busy" else manner)
        else:
            self._refuse(404)

    def _store(self, manner: str, name: str, token: str) -> None:
        if token:
            self._refuse(400)
        elif manner == "signed":
            manner, _, name = name.partition("/")
            if self.owner.use(self.query):
                self._file(self.owner.folder / name, manner)
            else:
                self._refuse(403, body=b"<Error><Code>AccessDenied</Code></Error>")
        else:
            self._file(self.owner.folder / name, manner)

    def _upload(self, path: str, token: str) -> None:
        body = self._body()
        batch = re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path)
        step = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if self.port_name == "store":
            if token or not self.owner.use(self.query) or hashlib.sha256(body).hexdigest() != path.rpartition("/")[2]:
                self._refuse(400)
                return
            self.owner.uploads[path.rpartition("/")[2]] = body
            self._json({})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif token not in (f"Bearer {TOKEN}", f"Bearer {READER}"):
            self._hub_error(401, "", "Invalid username or password.")
        elif path == "/api/whoami-v2":
            role = "write" if token == f"Bearer {TOKEN}" else "read"
            self._json({"type": "user", "name": "tests", "auth": {"accessToken": {"role": role}}})
        elif token != f"Bearer {TOKEN}":
            self._hub_error(403, "", "You don't have the rights to do this.")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'tests'}/{asked['name']}"
            self._json({"url": f"{self.owner.hub}/{name}", "name": name})
        elif batch:
            self._json({"transfer": "basic", "objects": [self._wanted(item) for item in json.loads(body)["objects"]]})
        elif step and step[2] == "preupload":
            self._json({"files": [self._mode(item["path"]) for item in json.loads(body)["files"]]})
        elif step:
            self._committed(step[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._refuse(404)

    def _body(self) -> bytes:
        """The body of a request, with its length or in chunks, no faster than the store takes uploads."""
        content = b""
        left = int(self.headers.get("Content-Length", 0))
        while True:
            if self.headers.get("Transfer-Encoding") == "chunked" and not left:
                left = int(self.rfile.readline().strip() or b"0", 16)
            if not (piece := self.rfile.read(min(left, 64 << 10))):
                break
            content += piece
            left -= len(piece)
            if self.headers.get("Transfer-Encoding") == "chunked" and not left:
                self.rfile.readline()
            if self.port_name == "store":
                time.sleep(len(piece) / self.owner.upload_rate)
        return content

    def _wanted(self, item: dict[str, Any]) -> dict[str, Any]:
        """An entry of the answer to an LFS batch: without actions where the content is there."""
        link = {"href": f"{self.owner.store}/upload/{item['oid']}?{self.owner.sign()}"}
        return {**item, **({} if item["oid"] in self.owner.uploads else {"actions": {"upload": link}})}

    def _mode(self, name: str) -> dict[str, Any]:
        """An entry of the answer before an upload, with the oid of what the repository has under that name."""
        file, large = self.owner.folder / name, name.endswith(LARGE)
        oid = (self.owner.sha256(file) if large else _git_id(file)) if file.is_file() else None
        return {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    def _committed(self, repository: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            file = self.owner.folder / line["value"].get("path", "")
            if line["key"] == "file":
                file.write_bytes(base64.b64decode(line["value"]["content"]))
            elif line["key"] == "lfsFile":
                file.write_bytes(self.owner.uploads[line["value"]["oid"]])
        self.owner.commit = hashlib.sha1(json.dumps([self.owner.commit, lines]).encode()).hexdigest()
        url = f"{self.owner.hub}/{repository}/commit/{self.owner.commit}"
        self._json({"success": True, "commitOid": self.owner.commit, "commitUrl": url, "hookOutput": ""})

    def _put_off(self) -> None:
        if self.owner.rate_limit:
            policy = '"fixed window";"resolvers";q=3000;w=300'
            self._refuse(429, {"RateLimit": self.owner.rate_limit, "RateLimit-Policy": policy})
        else:
            self._refuse(429, {"Retry-After": self.owner.retry_after})

    def _allowed(self, owner: str, repository: str, revision: str, token: str, commit: Mapping[str, str]) -> bool:
        """Whether this client may see that revision; refuse it otherwise."""
        if owner in HUB_ERRORS:
            status, code, message = HUB_ERRORS[owner]
            # A file that is missing is missing in a commit that exists.
            self._hub_error(status, code, message, commit if code == "EntryNotFound" else {})
        elif token and token != f"Bearer {TOKEN}":
            self._refuse(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif owner == "gated" and not token:
            self._hub_error(401, "GatedRepo", f"Access to model {owner}/{repository} is restricted. Please log in.")
        elif revision not in REVISIONS and not re.fullmatch(r"[0-9a-f]{40}", revision):
            self._hub_error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return True
        return False

    def _commit(self, revision: str) -> dict[str, str]:
        return {"X-Repo-Commit": revision if re.fullmatch(r"[0-9a-f]{40}", revision) else self.owner.commit}

    def _listed(self, owner: str, repository: str, what: str, revision: str, token: str) -> None:
        """The repository's files: ``moved-file`` has them, but not the one that was asked for."""
        if owner != "moved-file" and not self._allowed(owner, repository, revision, token, {}):
            return
        files = self.owner.files()
        names = [str(path.relative_to(self.owner.folder)) for path in files]
        if what == "revision":
            siblings = [{"rfilename": name} for name in names]
            sha = self._commit(revision)["X-Repo-Commit"]
            self._json({"id": f"{owner}/{repository}", "sha": sha, "siblings": siblings})
            return
        first = int(urllib.parse.parse_qs(self.query).get("cursor", ["0"])[0])
        entries = []
        for path, name in list(zip(files, names))[first : first + self.owner.page]:
            entry: dict[str, Any] = {"type": "file", "path": name, "size": path.stat().st_size, "oid": _git_id(path)}
            if path.suffix in LARGE:
                entry["lfs"] = {"oid": self.owner.sha256(path), "size": entry["size"], "pointerSize": 135}
            entries.append(entry)
        after = first + self.owner.page
        url = f"{self.owner.hub}{self.path.partition('?')[0]}?recursive=true&cursor={after}"
        self._json(entries, {"Link": f'<{url}>; rel="next"'} if after < len(files) else {})

    def _resolve(self, owner: str, repository: str, revision: str, name: str, token: str) -> None:
        file = self.owner.folder / name
        commit = self._commit(revision)
        quoted = urllib.parse.quote(name)
        if owner == "former":
            self._redirect(f"/open/{repository}/resolve/{revision}/{quoted}", {}, 307)
        elif not self._allowed(owner, repository, revision, token, commit):
            pass
        elif not file.is_file():
            self._hub_error(404, "EntryNotFound", "Entry not found", commit)
        elif file.suffix not in LARGE:
            self._redirect(
                f"/api/resolve-cache/models/{owner}/{repository}/{commit['X-Repo-Commit']}/{quoted}", commit, 307
            )
        else:
            size = file.stat().st_size + (owner == "false-size")
            etag = self.owner.sha256(file) if owner != "false-sha256" else hashlib.sha256(b"another file").hexdigest()
            stated = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(size), "ETag": '"xet"', **commit}
            manner = owner if owner in STORE_MANNERS else "ranges"
            self._redirect(f"{self.owner.store}/signed/{manner}/{quoted}?{self.owner.sign()}", stated)

    def _redirect(self, target: str, headers: Mapping[str, str], status: int = 302) -> None:
        self._head(status, {"Location": target, "Content-Length": "0", **headers})

    def _hub_error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self._refuse(status, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}, body)

    def _refuse(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self._head(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def _file(self, file: Path, manner: str, stated: Mapping[str, str] | None = None) -> None:
        if not file.is_file():
            self._refuse(404)
            return
        size = file.stat().st_size
        first, last, status, headers = 0, size - 1, 200, dict(stated or {})
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


def _git_id(file: Path) -> str:
    """The name of a blob in Git, of a small file; for a large one any name will do."""
    if file.suffix in LARGE or not file.is_file():
        return hashlib.sha1(file.name.encode()).hexdigest()
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path, help="gets a line of JSON for each request, and the ports first")
    parser.add_argument("--slow", type=int, default=4_000_000, help="bytes per second and connection under /slow")
    parser.add_argument("--broken", type=int, default=300_000, help="bytes after which answers under /broken break off")
    parser.add_argument("--uses", type=int, default=1 << 30, help="requests that a signed URL is good for")
    parser.add_argument("--link-life", type=float, default=3600, help="seconds that a signed URL is good for")
    parser.add_argument("--busy", type=int, default=2, help="requests under /busy that are put off")
    parser.add_argument("--retry-after", default="1", help="seconds that clients are asked to wait under /busy")
    parser.add_argument("--life", type=float, default=600, help="seconds after which it ends by itself")
    asked = parser.parse_args()
    server = Server(asked.folder, broken=asked.broken, slow=asked.slow, out=asked.log)
    server.uses, server.busy, server.retry_after = asked.uses, asked.busy, asked.retry_after
    server.link_life = asked.link_life
    server.note({"hub": server.hub, "store": server.store})
    ends = time.monotonic() + asked.life
    while asked.log.exists() and time.monotonic() < ends:
        time.sleep(0.2)
    server.close()


if __name__ == "__main__":
    main()
