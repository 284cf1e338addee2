#!/usr/bin/env python3
"""Let the real hub's client, ``huggingface_hub``, download from the hub of the tests, and print what it makes of it.

The client is no requirement of the project::

    python3 -m venv /tmp/client && /tmp/client/bin/pip install huggingface_hub
    /tmp/client/bin/python tests/bench/hub_client.py
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from hub_server import TOKEN, Server

#: Owner of the repository and token, and which error the client is to raise.
REFUSED = (
    ("gated", False, "GatedRepoError"),
    ("gated", "hf_another", "HfHubHTTPError"),
    ("terms", TOKEN, "GatedRepoError"),
    ("nobody", False, "RepositoryNotFoundError"),
    ("renamed", False, "RevisionNotFoundError"),
    ("moved-file", False, "RemoteEntryNotFoundError"),
)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        served = Path(name, "served")
        served.mkdir()
        (served / "model.gguf").write_bytes(b"a model" * 10000)
        (served / "template.jinja").write_text("{{ messages }}")
        server = Server(served)
        server.page = 1
        os.environ.update(HF_ENDPOINT=server.hub, HF_HOME=f"{name}/cache", HF_HUB_DISABLE_XET="1")
        client = importlib.import_module("huggingface_hub")

        api = client.HfApi(endpoint=server.hub)
        results: dict[str, Any] = {
            "files": {file.path: file.size for file in api.list_repo_tree("open/model", recursive=True)}
            == {path.name: path.stat().st_size for path in server.files()},
            "commit": api.model_info("open/model").sha == server.commit,
        }
        for owner, token, wanted in REFUSED:
            try:
                client.hf_hub_download(f"{owner}/model", "model.gguf", token=token)
                raised = set()
            except Exception as error:
                raised = {type(error).__name__, type(error.__cause__).__name__}
            results[f"{owner}: {wanted}"] = wanted in raised
        for owner, file, token in (("open", "model.gguf", False), ("open", "template.jinja", False),
                                   ("gated", "model.gguf", TOKEN), ("former", "model.gguf", False)):  # fmt: skip
            path = client.hf_hub_download(f"{owner}/model", file, token=token)
            results[f"{owner}/{file}"] = Path(path).read_bytes() == (served / file).read_bytes()
        server.close()
    for what, right in results.items():
        print(f"{'as expected' if right else 'WRONG'}: {what}")
    print(f"huggingface_hub {client.__version__}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
