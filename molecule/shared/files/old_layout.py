"""Give what is on a board the names that version 0.1 used. Runs on the board, as root.

Manifests had `key` where they have `id`; that of a deployment had `engine`, `unit` and `watchdog` where it has
`release` and `files`; the pointer `verified` was called `proven`; and since the ID of a deployment was made from other
fields, its folder had another name.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path("/var/lib/llama")
UNIT = Path("/etc/systemd/system/llama-server.service")
REMARK = "# As version 0.1 wrote it.\n"


def rewrite(path: Path, **changes: Any) -> dict[str, Any]:
    """Change fields of a JSON file; None removes one. Return what was there."""
    before: dict[str, Any] = json.loads(path.read_text())
    after = {name: value for name, value in {**before, **changes}.items() if value is not None}
    path.write_text(json.dumps(after, indent=2) + "\n")
    return before


def old_deployment(folder: Path) -> str:
    """Change a deployment, and return its new ID."""
    manifest = json.loads((folder / "deployment.json").read_text())
    old = hashlib.sha256(f"0.1 {manifest['id']}".encode()).hexdigest()[:12]
    unit = folder / UNIT.name
    unit.write_text(REMARK + unit.read_text())
    files = manifest["files"]
    rewrite(
        folder / "deployment.json",
        format=1,
        key=old,
        id=None,
        engine=manifest["release"],
        release=None,
        files=None,
        unit=hashlib.sha256(unit.read_bytes()).hexdigest(),
        watchdog=files.get("watchdog", ""),
    )
    folder.rename(folder.with_name(old))
    return old


def main() -> None:
    ids = {}
    for folder in (ROOT / "deployments").iterdir():
        if (folder / "deployment.json").exists():
            ids[folder.name] = old_deployment(folder)
    for name, old_name in (("current", "current"), ("previous", "previous"), ("verified", "proven")):
        link = ROOT / name
        if link.is_symlink():
            target = Path(os.readlink(link))
            link.unlink()
            (ROOT / old_name).symlink_to(target.with_name(ids[target.name]))
    UNIT.write_text(REMARK + UNIT.read_text())
    releases = Path("/opt/ik_llama/releases").glob("*/release.json")
    models = [path for path in (ROOT / "models").glob("*/*.json") if not path.is_symlink()]
    for path in [*releases, *models]:
        manifest = json.loads(path.read_text())
        if "id" in manifest:
            rewrite(path, key=manifest["id"], id=None)
    subprocess.run(["systemctl", "daemon-reload"], check=True)


if __name__ == "__main__":
    main()
