"""Where a model comes from: a path or a URL, in one file or in parts, and what its header says.

Parts are files named ``NAME-00001-of-00003.gguf`` and so on (``llama_split_path`` in ``src/llama.cpp``); the first one
is named by the user, and the others are expected in the same folder.
"""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    GGUFError,
    Header,
    merge_headers,
    part_names,
    read_header,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.hub import explained
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError, RangeFile, origin, shown

HUB = "https://huggingface.co"
#: Options of modules that read from a hub.
HUB_OPTIONS: dict[str, Any] = {
    "hub": {"type": "str", "default": HUB},
    "hub_token": {"type": "str", "default": "", "no_log": True},
}


class Source(NamedTuple):
    """What is known of a source from its header (all parts together).

    ``size``: bytes of all parts. ``parts``: their paths or URLs. ``transferred``: bytes that came over the network.
    """

    header: Header
    size: int
    parts: tuple[str, ...]
    transferred: int


_HUB_FILE = re.compile(r"hf://(?P<repository>[^/@]+/[^/@]+)(?:@(?P<revision>[^/@]+))?/(?P<file>[^@?#]+)")


def is_url(location: str) -> bool:
    """Return whether ``location`` is a URL and no path."""
    return re.match(r"(?i)(https?|hf)://", location) is not None


def resolved(location: str, hub: str = HUB) -> str:
    """Return ``location``, with ``hf://OWNER/NAME@REVISION/FILE`` as a URL of the hub; no revision means ``main``.

    Raises FetchError for another form of ``hf://``.
    """
    if not location.lower().startswith("hf://"):
        return location
    found = _HUB_FILE.fullmatch(location)
    if not found:
        raise FetchError(f"{location} is not of the form hf://OWNER/NAME@REVISION/FILE", code="url")
    revision = urllib.parse.unquote(found["revision"] or "main")
    return repository_url(hub, found["repository"], revision, found["file"])


def token_for(url: str, token: str | None, hub: str = HUB) -> str | None:
    """Return the token if ``url`` is on the hub, None otherwise. Raises FetchError for what is no URL."""
    return token if token and origin(url) == origin(hub) else None


def repository_url(base: str, repository: str, revision: str, file: str) -> str:
    """Return the URL of a file in a Hugging Face repository, by its ``resolve`` end point."""
    quoted = [urllib.parse.quote(part, safe="/") for part in (repository, file)]
    return f"{base.rstrip('/')}/{quoted[0]}/resolve/{urllib.parse.quote(revision, safe='')}/{quoted[1]}"


def part_locations(location: str) -> tuple[str, ...]:
    """Return all files of a model of which the first (or only one) is named, in order. Raises GGUFError."""
    if not is_url(location):
        path = Path(location)
        return tuple(str(path.with_name(name)) for name in part_names(path.name))
    parts = urllib.parse.urlsplit(location)
    folder, slash, name = parts.path.rpartition("/")
    return tuple(urllib.parse.urlunsplit(parts._replace(path=folder + slash + part)) for part in part_names(name))


def _opened(url: str, token: str | None) -> RangeFile:
    try:
        return RangeFile(url, token)
    except FetchError as error:
        raise explained(error, url, token) from None


def open_source(location: str, token: str | None = None, hub: str = HUB) -> Source:
    """Read the header of the model at ``location``, no weights.

    ``location`` is a path, an HTTP(S) URL or ``hf://OWNER/NAME@REVISION/FILE``; of a split model that of the first
    part. Over HTTP this takes some MB, see remote.py. ``token`` is a bearer token for the server ``hub``, and sent
    to no other. Raises GGUFError for what is no usable GGUF file, FileNotFoundError for a path (of any part) that is
    not there, and OSError (FetchError for URLs) otherwise. No message has the token in it.
    """
    locations = part_locations(resolved(location, hub))
    headers = []
    size = transferred = 0
    for part in locations:
        try:
            if is_url(part):
                remote = _opened(part, token_for(part, token, hub))
                headers.append(read_header(cast(BinaryIO, remote), remote.size))
                size += remote.size
                transferred += remote.transferred
            else:
                with Path(part).open("rb") as file:
                    length = Path(part).stat().st_size
                    headers.append(read_header(file, length))
                    size += length
        except GGUFError as error:
            raise error if len(locations) == 1 else GGUFError(f"{shown(part)}: {error}", error.code) from None
    return Source(merge_headers(headers), size, locations, transferred)
