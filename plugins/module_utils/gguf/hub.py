"""What a Hugging Face repository has, by the hub's API.

Sources: "Hub API endpoints" in the documentation of the Hugging Face Hub, and ``list_repo_tree`` in ``hf_api.py`` of
huggingface_hub.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import PurePosixPath

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError, origin, read_small, shown

PAGES = 10  # of the list of files; a page has a thousand
SHOWN = 12  # files that a message names

_RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


def repository_files(url: str, token: str | None) -> list[str]:
    """Return the names of all files of the repository and revision that ``url`` is in; none where it is in none.

    Args:
        url: of a file, by the hub's end point ``resolve``.
        token: for that server.

    Raises FetchError, and ServerBusy.
    """
    parts = urllib.parse.urlsplit(url)
    found = _RESOLVE.fullmatch(parts.path)
    if not found:
        return []
    path = f"/api/models/{found['repository']}/tree/{found['revision']}"
    page: str | None = urllib.parse.urlunsplit(parts._replace(path=path, query="recursive=true", fragment=""))
    names: list[str] = []
    for _number in range(PAGES):
        if not page:
            break
        content, headers = read_small(page, token)
        try:
            entries = json.loads(content)
            names += [str(entry["path"]) for entry in entries if entry["type"] == "file"]
        except (ValueError, LookupError, TypeError):
            raise FetchError(f"{shown(page)}: its server does not answer as a hub does", code="hub") from None
        after = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("link", ""))
        # The token is for this server alone.
        page = after[1] if after and origin(after[1]) == origin(url) else None
    return names


def explained(error: FetchError, url: str, token: str | None) -> FetchError:
    """Return the error with the names of the files that the repository has, where one is missing there."""
    if error.code != "entry":
        return error
    try:
        names = repository_files(url, token)
    except FetchError:
        return error
    kind = PurePosixPath(urllib.parse.urlsplit(url).path).suffix
    alike = [name for name in names if name.endswith(kind)]
    more = f" and {len(alike) - SHOWN} more" if len(alike) > SHOWN else ""
    has = f"It has {', '.join(alike[:SHOWN])}{more}" if alike else f"It has no file that ends in {kind}"
    return FetchError(f"{error}. {has}", error.status, error.code)
