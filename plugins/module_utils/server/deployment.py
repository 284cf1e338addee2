"""The deployments of a board: an engine release, a model, and the options and files that serve it, under one ID.

    ROOT/deployments/ID/    engine and model (links), run, the unit, deployment.json (the manifest, written last)
    ROOT/current            what systemd starts
    ROOT/verified           the last deployment that has answered
    ROOT/previous           the verified one before it
    ROOT/begun              name of the rollout that moved `current` last
    ROOT/rollout            name of the rollout that moved `verified` last

A finished deployment never changes: only the pointers and the unit file do. Two names of version 0.1 are understood:
the pointer `proven`, which becomes `verified`, and format 1 of the manifest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import point, settle, write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id, sha256_file, sha256_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json, read_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import open_directly
from ansible_collections.ik_llama.pi.plugins.module_utils.common.systemd import reset_failed, show
from ansible_collections.ik_llama.pi.plugins.module_utils.server.account import unit_owner
from ansible_collections.ik_llama.pi.plugins.module_utils.server.arguments import Arguments, complaint, served_at
from ansible_collections.ik_llama.pi.plugins.module_utils.server.process import process_start

FORMAT = 2
MANIFEST = "deployment.json"
#: What a deployment's ID is the digest of, by the names in its manifest.
PARTS = ("release", "model", "arguments", "files")
#: All that is in the root and belongs to deployments.
CONTENTS = ("current", "verified", "proven", "previous", "begun", "rollout", "deployments")
#: Options of modules that are about deployments.
DEPLOYMENT_OPTIONS: dict[str, Any] = {
    "root": {"type": "path", "default": "/var/lib/llama"},
    "unit_path": {"type": "path", "default": "/etc/systemd/system/llama-server.service"},
    "engine": {"type": "path"},
    "model": {"type": "path"},
    "arguments": {"type": "list", "elements": "list", "default": []},
    "files": {"type": "dict", "default": {}},
}


class DeploymentError(Exception):
    """A deployment cannot be built or activated; `argument` names the option to change."""

    def __init__(self, argument: str, text: str) -> None:
        super().__init__(text)
        self.argument = argument


def release_id(manifest: Mapping[str, Any]) -> str:
    """Return the ID of an engine release from its manifest, empty if it has none."""
    return str(manifest.get("id") or manifest.get("key") or "")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a deployment: id, release, model (sha256), arguments, files (sha256 by name) and others.

    Empty if the deployment is not finished.
    """
    return present_names(read_json(folder / MANIFEST, dict[str, Any]()))


def present_names(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest as the present version would have written it."""
    if manifest.get("format") != 1:
        return manifest
    renamed = {"key": "id", "engine": "release"}
    kept = {renamed.get(name, name): value for name, value in manifest.items() if name not in ("unit", "watchdog")}
    return {**kept, "files": {}}


class Inputs:
    """What a deployment is made from: the things that its ID is the digest of."""

    def __init__(self, engine: str, model: str, arguments: Arguments, files: Mapping[str, str]) -> None:
        """Read the manifests of engine release and model.

        Args:
            engine: pointer to the engine release, a folder.
            model: pointer to the GGUF.
            arguments: of llama-server, a list for each flag.
            files: the files that the deployment consists of, text by name.
        """
        self.engine = Path(engine or os.devnull).resolve()
        self.model = Path(model or os.devnull).resolve()
        self.release_manifest = read_json(self.engine / "release.json", dict[str, Any]())
        self.model_manifest = read_json(self.model.with_suffix(".json"), dict[str, Any]())
        self.arguments = [[str(word) for word in flag] for flag in arguments]
        self.files = dict(files)

    def missing(self, release: str | None = None, model: str | None = None) -> list[str]:
        """Return what is not there yet: `engine release`, `model`.

        Args:
            release: ID of the engine release that is to be there; empty where it is not known yet, None for any.
            model: sha256 of the model that is to be there; the same.
        """
        found = []
        there = release_id(self.release_manifest) if (self.engine / "bin/llama-server").exists() else ""
        if not there or release not in (None, there):
            found.append("engine release")
        there = str(self.model_manifest.get("sha256", "")) if self.model.exists() else ""
        if not there or model not in (None, there):
            found.append("model")
        return found

    def parts(self) -> dict[str, Any]:
        """Return all that makes this deployment another one than others."""
        return {
            "release": release_id(self.release_manifest),
            "model": self.model_manifest["sha256"],
            "arguments": self.arguments,
            "files": {name: sha256_text(text) for name, text in self.files.items() if text},
        }

    def id(self) -> str:
        """Return the ID of the deployment. Engine release and model must be there."""
        return content_id(self.parts())


def _target(link: Path) -> str:
    """Return the last part of where a link goes, empty if it is none."""
    return Path(os.readlink(link)).name if link.is_symlink() else ""


class Deployments:
    """The deployments of one board."""

    def __init__(self, root: str, unit_path: str) -> None:
        self.root = Path(root)
        self.unit_path = Path(unit_path)

    def folder(self, deployment: str) -> Path:
        """Return the folder of a deployment."""
        return self.root / "deployments" / deployment

    def pointed(self, pointer: str) -> str:
        """Return the ID that a pointer names, empty if there is none."""
        link = self.root / pointer
        if pointer == "verified" and not link.is_symlink():
            link = self.root / "proven"
        return Path(os.readlink(link)).name if link.is_symlink() else ""

    def manifest(self, deployment: str) -> dict[str, Any]:
        """Return the manifest of a deployment, empty if it is not there or not finished."""
        return read_manifest(self.folder(deployment)) if deployment else {}

    def altered(self, deployment: str) -> list[str]:
        """Return the names in a finished deployment that are not what it was built with: somebody changed them.

        A deployment of version 0.1 does not say what it was built with.
        """
        folder, manifest = self.folder(deployment), self.manifest(deployment)
        if not deployment or not (folder / MANIFEST).exists() or manifest.get("format") == 1:
            return []
        if content_id({part: manifest.get(part) for part in PARTS}) != deployment:
            return [MANIFEST]
        links = {"engine": manifest["release"], "model": Path(manifest["model_file"]).name}
        found = [name for name, target in links.items() if _target(folder / name) != target]
        for name, digest in manifest["files"].items():
            path = folder / name
            if path.is_symlink() or not path.is_file() or sha256_file(path) != digest:
                found.append(name)
        return found

    def release(self, deployment: str) -> str:
        """Return the ID of the engine release of a deployment, empty if that or the model was removed."""
        folder = self.folder(deployment)
        whole = bool(deployment) and (folder / "engine/bin/llama-server").exists() and (folder / "model").exists()
        return Path(os.readlink(folder / "engine")).name if whole else ""

    def served(self, deployment: str) -> dict[str, str]:
        """Return how a deployment is reached, as `served_at` does."""
        return served_at(self.manifest(deployment).get("arguments", []))

    def pid(self) -> str:
        """Return the process ID of the server, 0 if it does not run."""
        return show(self.unit_path.name, "MainPID").get("MainPID") or "0"

    def process(self) -> tuple[str, float]:
        """Return the ID of the deployment that the process was started from, and since when it runs (epoch)."""
        pid = self.pid()
        if pid == "0":
            return "", 0.0
        try:
            return Path(os.readlink(f"/proc/{pid}/cwd")).name, process_start(pid)
        except (OSError, ValueError):
            return "", 0.0

    def stale(self, deployment: str, key_file: str = "") -> bool:
        """Return whether something must be (re)started for this deployment to serve, and to be verified.

        Args:
            key_file: file with the API keys; like the deployment's own, one that is newer than the process is not in
                use yet.
        """
        running, since = self.process()
        files = [key_file, *(str(path) for path in self.folder(deployment).glob("*") if not path.is_symlink())]
        newer = any(os.stat(file).st_mtime > since for file in files if file and os.path.exists(file))
        unit = read_text(self.folder(deployment) / self.unit_path.name)
        pointed = {self.pointed("current"), self.pointed("verified"), running}
        return pointed != {deployment} or newer or unit != read_text(self.unit_path)

    def healthy(self, deployment: str) -> bool:
        """Return whether a finished deployment has all of its parts, and answers /health."""
        if not self.release(deployment) or not self.manifest(deployment):
            return False
        try:
            with open_directly(self.served(deployment)["url"] + "/health", 2):
                return True
        except OSError:
            return False

    def fallback(self, deployment: str) -> str:
        """Return the ID of what can serve if this deployment does not, empty if nothing can."""
        for other in (self.pointed("verified"), self.pointed("previous")):
            if other != deployment and self.release(other):
                return other
        return ""

    def unit_problem(self) -> str:
        """Return why the unit cannot be written, empty if it can: another one of that name is not overwritten."""
        if not (owner := unit_owner(str(self.unit_path), str(self.root))):
            return ""
        return (
            f"there is a unit {self.unit_path.name} that this role has not made: {owner}. Stop and disable it"
            f" (systemctl disable --now {self.unit_path.name}), then rename or remove it, and run again"
        )

    def before(self) -> str:
        """Return the ID of the deployment to roll back to: where a rollout was interrupted, what it began with."""
        verified = self.pointed("verified")
        return verified if verified != self.pointed("current") else self.pointed("previous")

    def rollout(self) -> str:
        """Return the name of the rollout that last changed what serves, or began to."""
        interrupted = self.pointed("current") != self.pointed("verified")
        begun = read_text(self.root / "begun").strip() if interrupted else ""
        return begun or read_text(self.root / "rollout").strip()

    def rename_pointers(self) -> bool:
        """Give the pointer of version 0.1 its present name. Return whether there was one."""
        old = self.root / "proven"
        if not old.is_symlink():
            return False
        # One rename, or a removal: the verified deployment has a name at any moment.
        if (self.root / "verified").is_symlink():
            old.unlink()
        else:
            old.rename(self.root / "verified")
        settle(self.root)
        return True

    def build(self, inputs: Inputs, check_mode: bool) -> tuple[str, bool, dict[str, str]]:
        """Build a deployment next to the others. Nothing in service changes.

        Returns:
            Its ID, whether it was built or would be, and the difference to the start script in service.
        """
        for what, argument in (("engine release", "engine"), ("model", "model")):
            if what in inputs.missing():
                pointer = getattr(inputs, argument)
                raise DeploymentError(
                    argument,
                    f"there is no {what} at {pointer}. Run site.yml, or the playbook that makes it, first."
                    " What serves was not changed.",
                )
        deployment = inputs.id()
        folder = self.folder(deployment)
        if (folder / MANIFEST).exists() and not self.altered(deployment):
            return deployment, False, {}
        current = self.pointed("current")
        diff = {
            "before": read_text(self.folder(current) / "run") if current else "",
            "after": inputs.files.get("run", ""),
            "before_header": "in service",
            "after_header": str(folder / "run"),
        }
        check_arguments(inputs)
        if not check_mode:
            self._make(folder, inputs, deployment)
        return deployment, True, diff

    def _make(self, folder: Path, inputs: Inputs, deployment: str) -> None:
        """Fill a folder under another name; it gets its name when everything is in it.

        A finished one that somebody changed is repaired where it is, because it may be in service.
        """
        if (folder / MANIFEST).exists():
            self._fill(folder, inputs, deployment)
            return
        new = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)  # it has no manifest: an interruption left it
        new.mkdir(parents=True, mode=0o755)
        self._fill(new, inputs, deployment)
        new.rename(folder)
        settle(folder.parent)

    @staticmethod
    def _fill(folder: Path, inputs: Inputs, deployment: str) -> None:
        """Write all that a deployment consists of; each file is whole at any moment."""
        point(folder / "engine", str(inputs.engine))
        point(folder / "model", str(inputs.model))
        for name, text in inputs.files.items():
            if text:
                write_file(folder / name, text, 0o755 if text.startswith("#!") else 0o644)
        manifest = {"format": FORMAT, "id": deployment, **inputs.parts(), "model_file": str(inputs.model)}
        write_file(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n", 0o644)

    def activate(self, deployment: str, rollout: str, check_mode: bool) -> bool:
        """Move pointer and unit file to a finished deployment. Return whether anything moved, or would.

        Args:
            deployment: its ID; empty removes the pointer, because nothing can serve.
            rollout: name of the rollout; empty for a way back, which is part of the one before.
        """
        link = self.root / "current"
        if not deployment:
            there = link.is_symlink()
            if there and not check_mode:
                link.unlink()
            return there
        folder = self.folder(deployment)
        if not (folder / MANIFEST).exists():
            raise DeploymentError("id", f"there is no finished deployment {deployment} in {folder.parent}")
        if problem := self.unit_problem():
            raise DeploymentError("unit_path", f"{problem}. What serves was not changed.")
        unit = read_text(folder / self.unit_path.name)
        moved = self.pointed("current") != deployment or unit != read_text(self.unit_path)
        if moved and not check_mode:
            if rollout:
                write_file(self.root / "begun", rollout + "\n")
            # Keys and packages were written by others, who do not flush: an empty file of keys would let everybody in.
            os.sync()
            if unit != read_text(self.unit_path):
                write_file(self.unit_path, unit, 0o644)
            point(link, f"deployments/{deployment}")
        if not check_mode:
            # A unit of an earlier version may have used up its starts. The start that follows is asked for.
            reset_failed(self.unit_path.name)
        return moved

    def verify(self, deployment: str, rollout: str, check_mode: bool) -> bool:
        """Mark a deployment as one that has answered. Return whether that is new.

        The previous one is marked first: after an interruption in between, the next run verifies this one again.

        Raises:
            DeploymentError: if another one is in service, or runs: then that has answered.
        """
        serves, runs = self.pointed("current"), self.process()[0]
        if {serves, runs} != {deployment} and not check_mode:
            raise DeploymentError(
                "id",
                f"deployment {serves or 'none'} is in service and {runs or 'none'} runs, not {deployment}, which was"
                " started: another run changes this board at the same time. Let that end, then run again",
            )
        before = self.pointed("verified")
        moved = before != deployment
        if moved and not check_mode:
            if before:
                point(self.root / "previous", f"deployments/{before}")
            point(self.root / "verified", f"deployments/{deployment}")
            write_file(self.root / "rollout", rollout + "\n")
        return moved

    def prune(self, check_mode: bool) -> bool:
        """Remove deployments that no pointer names, and whose engine or model was removed. Return whether any was."""
        named = {self.pointed(pointer) for pointer in ("current", "verified", "previous")}
        unusable = [
            folder
            for folder in (self.root / "deployments").glob("*")
            if folder.name not in named and not self.release(folder.name)
        ]
        if not check_mode:
            for folder in unusable:
                shutil.rmtree(folder)
        return bool(unusable)

    def remove(self, check_mode: bool) -> bool:
        """Remove pointers and deployments, and the root if nothing else is in it. Return whether there was anything."""
        there = [path for name in CONTENTS if os.path.lexists(path := self.root / name)]
        if not check_mode:
            for path in there:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if self.root.is_dir() and not any(self.root.iterdir()):
                self.root.rmdir()
        return bool(there)


def check_arguments(inputs: Inputs) -> None:
    """Let the engine itself read its arguments. Raise DeploymentError if it refuses them, or does not run here."""
    # It opens the file of keys, which is written when it is the board's turn: systemd asserts it at the start.
    flags = [flag for flag in inputs.arguments if flag[0] != "--api-key-file" or Path(flag[1]).exists()]
    argv = [str(inputs.engine / "bin/llama-server"), *(word for flag in flags for word in flag), "--help"]
    try:
        # One stream: the complaint precedes the help only in the order in which they are written.
        asked = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=120,
        )
        found = complaint(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise DeploymentError("engine", f"{argv[0]} does not run here: {error}") from error
    if found:
        raise DeploymentError(
            "arguments",
            f"llama-server of this engine release refuses its arguments: {found}. Correct llama_server_extra or the"
            " option that is named, or set ik_llama_build_version to an engine that has it."
            " What serves was not changed.",
        )
