#!/usr/bin/python
"""Ansible module: builds a deployment, and puts one into service."""

from __future__ import annotations

DOCUMENTATION = """
---
module: llama_deployment
short_description: Builds a deployment, and puts one into service
description:
  - A deployment is one engine release, one model, one set of options and one unit, under a key made from them.
  - With C(state=built) it is made beside the others and nothing in service changes.
  - With C(state=current) the pointer C(current) and the unit file move to it. Starting it is not done here.
  - With C(state=proven) it is noted as one that has answered, and the proven one before it as the one to go back to.
    A pointer that was moved but never proven is not trusted, and the deployment counts as stale.
  - With C(state=looked) nothing changes. The returned values tell of I(deployment), of the one that these I(arguments)
    would make, or of the one to go back to. That is the proven one where another is in service, else the proven one
    before it.
  - With C(state=absent) pointers and deployments are removed. Models and engines are not touched.
options:
  root:
    description: Folder of deployments and pointers.
    type: path
    default: /var/lib/llama
  state:
    description: What to reach.
    type: str
    choices: [built, current, proven, looked, absent]
    default: built
  deployment:
    description:
      - Key of the deployment that a pointer shall name; needed for C(current) and C(proven).
      - Empty with C(state=current) to take the pointer away, because nothing can serve.
    type: str
  rollout:
    description: Name of the change of the fleet that this is part of; C(state=current) and C(state=proven) note it.
    type: str
    default: ""
  engine:
    description: Pointer to the engine release; needed for C(state=built). C(looked) reads its manifest.
    type: path
  model:
    description: Pointer to the GGUF; needed for C(state=built). C(looked) reads its manifest.
    type: path
  wanted_engine:
    description:
      - Key of the engine release that an earlier step is to make C(engine) name, empty if that is not known yet.
      - In check mode that step did nothing; a release with another key then counts as one that is not there yet.
    type: str
  wanted_model:
    description: The same of the model, its sha256.
    type: str
  port:
    description: Port of the API. C(looked) tells who else listens there; 0 asks nothing.
    type: int
    default: 0
  watchdog:
    description: Text of the program that watches the server from within the unit; empty for none.
    type: str
    default: ""
  watch:
    description: Arguments of that program.
    type: list
    elements: str
    default: []
  arguments:
    description: Arguments of llama-server, a list for each flag, without the model.
    type: list
    elements: list
    default: []
  unit:
    description: Text of the systemd unit.
    type: str
    default: ""
  unit_path:
    description: Where the unit belongs.
    type: path
    default: /etc/systemd/system/llama-server.service
  restart_due:
    description: Whether a file that the server reads at its start is still to be written; then it must be restarted.
    type: bool
    default: false
  restart_after:
    description: Files that the server reads at its start; if one is newer than the process, it must be restarted.
    type: list
    elements: path
    default: []
author: ik-llama-pi
"""

EXAMPLES = """
- name: Build the deployment
  llama_deployment:
    engine: /opt/ik_llama/current
    model: /var/lib/llama/models/alphabet/current.gguf
    arguments: [[--port, "8080"]]
    unit: "{{ lookup('ansible.builtin.template', 'llama-server.service.j2') }}"
"""

RETURN = """
key:
  description: Key of the deployment asked for; empty in check mode where engine or model are not there yet.
  returned: always
  type: str
current:
  description: Key of the deployment that the pointer names, empty if there is none.
  returned: always
  type: str
previous:
  description: Key of the deployment to go back to, empty if there is none.
  returned: always
  type: str
proven:
  description: Key of the last deployment that has answered, empty if there is none.
  returned: always
  type: str
rollout:
  description: >-
    Name of the change of the fleet that last changed what serves here, also of one that was cut off; empty if there is
    none.
  returned: always
  type: str
fallback:
  description: Key of the deployment to go back to if C(key) does not serve; empty if none could.
  returned: always
  type: str
served:
  description:
    - How the deployment C(key) is asked, as C(url) (from its own board), C(address), C(alias) and C(api_key_file).
  returned: always
  type: dict
fallback_served:
  description: The same of the deployment C(fallback).
  returned: always
  type: dict
deployment:
  description: Manifest of the deployment that the pointer names, empty if there is none.
  returned: always
  type: dict
current_served:
  description: How that deployment is asked, in the same form.
  returned: always
  type: dict
served_recipe:
  description: Recipe of its model, empty if that is not known.
  returned: always
  type: str
release:
  description: Manifest of the engine release, empty where it is not there.
  returned: always
  type: dict
manifest:
  description: Manifest of the model, empty where it is not there.
  returned: always
  type: dict
port_owner:
  description: Program that listens on I(port) and is not this server; empty if none does.
  returned: always
  type: str
engine:
  description: Key of the engine release of the deployment C(key), empty if that, or its model, is not there any more.
  returned: always
  type: str
running:
  description: Key of the deployment that the running process was started from, empty if none runs.
  returned: always
  type: str
stale:
  description: Whether something must be (re)started for this deployment to be the one that serves.
  returned: always
  type: bool
serves:
  description: With C(looked), whether the deployment C(key) is in service, proven and well. Then nothing is to be done.
  returned: always
  type: bool
missing:
  description: In check mode, what is not there yet and would be made by an earlier step.
  returned: always
  type: list
  elements: str
"""

import hashlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import point, settle, write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_key
from ansible_collections.ik_llama.pi.plugins.module_utils.server.options import (
    complaint,
    listeners,
    run_script,
    served_at,
    started_at,
    watchdog_sha256,
)

POINTERS = ("current", "proven", "previous")


def text_of(path: Path) -> str:
    """Text of a file, empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def link_of(path: Path) -> str:
    """What a symlink names, empty if it is not there any more."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def json_of(path: Path) -> dict[str, Any]:
    """What a JSON file says, empty if it cannot be read."""
    try:
        return dict(json.loads(text_of(path)))
    except ValueError:
        return {}


class Deployments:
    """The deployments of one board."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.root = Path(module.params["root"])
        self.unit_path = Path(module.params["unit_path"])
        self.missing: list[str] = []

    def fail(self, argument: str, message: str) -> NoReturn:
        """Fail; `argument` names the option that is about what is wrong."""
        self.module.fail_json(msg=message, argument=argument)
        raise AssertionError  # fail_json does not return

    def folder(self, key: str) -> Path:
        return self.root / "deployments" / key

    def pointed(self, pointer: str) -> str:
        """Key that the pointer `current` or `previous` names, empty if there is none."""
        link = self.root / pointer
        return Path(os.readlink(link)).name if link.is_symlink() else ""

    def engine(self, key: str) -> str:
        """Key of the engine release that a deployment uses, empty if that or the model is not there any more."""
        folder = self.folder(key)
        whole = bool(key) and (folder / "engine/bin/llama-server").exists() and (folder / "model").exists()
        return Path(os.readlink(folder / "engine")).name if whole else ""

    def process(self) -> tuple[str, float]:
        """Key of the deployment that the running process works in, and when that process was started (epoch)."""
        shown = subprocess.run(
            ["systemctl", "show", "--property=MainPID", "--value", self.unit_path.name],
            capture_output=True,
            text=True,
            check=False,
        )
        pid = shown.stdout.strip() or "0"
        if pid == "0":
            return "", 0.0
        try:
            return Path(os.readlink(f"/proc/{pid}/cwd")).name, started_at(
                Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"),
                os.sysconf("SC_CLK_TCK"),
                time.clock_gettime(time.CLOCK_BOOTTIME),
                time.time(),
            )
        except (OSError, ValueError):
            return "", 0.0

    def stale(self, key: str) -> bool:
        """Whether this deployment is not, or not yet, what serves."""
        running, since = self.process()
        newer = self.module.params["restart_due"] or any(
            Path(file).exists() and Path(file).stat().st_mtime > since for file in self.module.params["restart_after"]
        )
        unit = text_of(self.folder(key) / self.unit_path.name)
        pointed = {self.pointed("current"), self.pointed("proven"), running}
        return pointed != {key} or newer or unit != text_of(self.unit_path)

    def fallback(self, key: str) -> str:
        """Key of the deployment that can serve if this one does not, empty if there is none."""
        for other in (self.pointed("proven"), self.pointed("previous")):
            if other != key and self.engine(other):
                return other
        return ""

    def served(self, key: str) -> dict[str, str]:
        """Where a deployment is asked; one that is not made yet by the arguments given."""
        return served_at(
            json_of(self.folder(key) / "deployment.json").get("arguments", self.module.params["arguments"])
        )

    def manifests(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The manifests of engine release and model; empty where they are not there (yet), or not asked for."""
        params = self.module.params
        engine = json_of(Path(params["engine"] or os.devnull, "release.json"))
        model = json_of(Path(params["model"] or os.devnull).resolve().with_suffix(".json"))
        return (
            {} if self.outdated(params["wanted_engine"], engine.get("key")) else engine,
            {} if self.outdated(params["wanted_model"], model.get("sha256")) else model,
        )

    def outdated(self, wanted: str | None, there: str | None) -> bool:
        """Whether an earlier step, which did nothing in check mode, would have put something else here."""
        return bool(self.module.check_mode and wanted is not None and wanted != there)

    def port_owner(self) -> str:
        """Who listens on the port, if that is not this server: a program's name and number."""
        port = self.module.params["port"]
        inodes = listeners("\n".join(text_of(Path(f"/proc/net/{kind}")) for kind in ("tcp", "tcp6")), port)
        if not port or not inodes:
            return ""
        unit = f"/{self.unit_path.name}"
        for process in Path("/proc").glob("[0-9]*"):
            if inodes & {link_of(entry) for entry in process.glob("fd/*")}:
                ours = unit in text_of(process / "cgroup") or str(self.root) in text_of(process / "cmdline")
                return "" if ours else f"{text_of(process / 'comm').strip()} (process {process.name})"
        return "another program"

    def input(self, pointer: Path, manifest: Path, what: str, wanted: str | None) -> dict[str, Any]:
        """The manifest of something that an earlier step made. Not there: an error, in check mode a note."""
        if pointer.exists() and manifest.exists():
            found = dict(json.loads(manifest.read_text(encoding="utf-8")))
            if not self.outdated(wanted, found.get("key" if what == "engine release" else "sha256")):
                return found
        if not self.module.check_mode:
            self.fail(
                "engine" if what == "engine release" else "model",
                f"there is no {what} at {pointer}: run the playbook that makes it first (site.yml runs them all)",
            )
        self.missing.append(what)
        return {}

    def inputs(self, release: dict[str, Any], manifest: dict[str, Any]) -> dict[str, Any]:
        """All that makes this deployment another one than others."""
        params = self.module.params
        return {
            "engine": release["key"],
            "model": manifest["sha256"],
            "arguments": [[str(word) for word in flag] for flag in params["arguments"]],
            "unit": hashlib.sha256(params["unit"].encode()).hexdigest(),
            "watchdog": watchdog_sha256(params["watchdog"], params["watch"]),
        }

    def wanted(self) -> str:
        """Key of the deployment that would be built, empty where its engine or its model is not there yet."""
        release, manifest = self.manifests()
        return content_key(self.inputs(release, manifest)) if release and manifest else ""

    def serves(self, key: str) -> bool:
        """Whether this very deployment is built, in service, proven, and says that it is well."""
        if not self.engine(key) or not (self.folder(key) / "deployment.json").exists() or self.stale(key):
            return False
        try:
            with urllib.request.urlopen(self.served(key)["url"] + "/health", timeout=2):
                return True
        except OSError:
            return False

    def build(self) -> tuple[str, bool, dict[str, str]]:
        """Key, whether it was (or would be) made, and the difference to what the pointer names now."""
        params = self.module.params
        engine = Path(params["engine"]).resolve()
        model = Path(params["model"]).resolve()
        server = engine / "bin/llama-server"
        release = self.input(server, engine / "release.json", "engine release", params["wanted_engine"])
        manifest = self.input(model, model.with_suffix(".json"), "model", params["wanted_model"])
        if self.missing:
            return "", True, {"before": "", "after": f"a deployment, as soon as there is: {', '.join(self.missing)}\n"}
        inputs = self.inputs(release, manifest)
        arguments = inputs["arguments"]
        key = content_key(inputs)
        folder = self.folder(key)
        watch = ["/usr/bin/python3", "-I", str(folder / "watchdog"), *params["watch"]] if params["watchdog"] else []
        script = run_script(str(folder / "engine/bin/llama-server"), str(folder / "model"), arguments, key, watch)
        before = text_of(self.folder(self.pointed("current")) / "run") if self.pointed("current") else ""
        diff = {"before": before, "after": script, "before_header": "in service", "after_header": str(folder / "run")}
        if (folder / "deployment.json").exists():
            return key, False, {}
        self.check_arguments(engine, arguments)
        if not self.module.check_mode:
            self.make(folder, engine, model, script, {"format": 1, "key": key, **inputs, "model_file": str(model)})
        return key, True, diff

    def check_arguments(self, engine: Path, arguments: list[list[str]]) -> None:
        """Let the very binary read its arguments, before the service is touched."""
        # It opens the file of keys, which is written when it is the board's turn: at its start systemd asks for it.
        flags = [flag for flag in arguments if flag[0] != "--api-key-file" or Path(flag[1]).exists()]
        argv = [str(engine / "bin/llama-server"), *(word for flag in flags for word in flag), "--help"]
        try:
            # One stream: the complaint comes before the help only in the order they are written.
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
            self.fail("engine", f"{argv[0]} does not run here: {error}")
        if found:
            self.fail(
                "arguments",
                f"llama-server of this engine release refuses its arguments: {found}. Correct llama_server_extra or the"
                " option named, or set ik_llama_build_version to an engine that has it; see llama-server --help",
            )

    def make(self, folder: Path, engine: Path, model: Path, script: str, manifest: dict[str, Any]) -> None:
        """Build the folder beside its place. Its name appears only when all of it is there."""
        beside = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)  # without a manifest: left by an interruption
        beside.mkdir(parents=True, mode=0o755)
        (beside / "engine").symlink_to(engine)
        (beside / "model").symlink_to(model)
        write_file(beside / "run", script, 0o755)
        if self.module.params["watchdog"]:
            write_file(beside / "watchdog", self.module.params["watchdog"], 0o644)
        write_file(beside / self.unit_path.name, self.module.params["unit"], 0o644)
        write_file(beside / "deployment.json", json.dumps(manifest, indent=2) + "\n", 0o644)
        beside.rename(folder)
        settle(folder.parent)

    def activate(self, key: str) -> bool:
        """Move pointer and unit file to a finished deployment. Returns whether anything moved."""
        link = self.root / "current"
        if not key:
            there = link.is_symlink()
            if there and not self.module.check_mode:
                link.unlink()
            return there
        folder = self.folder(key)
        if not (folder / "deployment.json").exists():
            self.fail("deployment", f"there is no finished deployment {key} in {folder.parent}")
        unit = text_of(folder / self.unit_path.name)
        old = self.pointed("current")
        moved = old != key or unit != text_of(self.unit_path)
        if moved and not self.module.check_mode:
            if self.module.params["rollout"]:
                write_file(self.root / "begun", self.module.params["rollout"] + "\n")
            # Keys and packages were written by others, who do not flush: an empty file of keys would let everybody in.
            os.sync()
            if unit != text_of(self.unit_path):
                write_file(self.unit_path, unit, 0o644)
            point(link, f"deployments/{key}")
        return moved

    def prove(self, key: str) -> bool:
        """Note a deployment as one that has answered. Returns whether that is new.

        The one to go back to is noted first: cut off in between, the next run proves this one again.
        """
        before = self.pointed("proven")
        moved = before != key
        if moved and not self.module.check_mode:
            if before:
                point(self.root / "previous", f"deployments/{before}")
            point(self.root / "proven", f"deployments/{key}")
            write_file(self.root / "rollout", self.module.params["rollout"] + "\n")
        return moved

    def back(self) -> str:
        """Key of the deployment to go back to: where a change was cut off, to what it began with."""
        proven = self.pointed("proven")
        return proven if proven != self.pointed("current") else self.pointed("previous")

    def rollout(self) -> str:
        """Name of the change that last changed what serves, or began to."""
        cut_off = self.pointed("current") != self.pointed("proven")
        return (text_of(self.root / "begun").strip() if cut_off else "") or text_of(self.root / "rollout").strip()

    def reach(self) -> tuple[str, bool, dict[str, str]]:
        """Do what the state asks for. Key of the deployment that is meant, whether anything changed, the difference.

        Raises:
            OSError: if something cannot be written; then no pointer has moved.
        """
        state = self.module.params["state"]
        key = self.module.params["deployment"] or ""
        before = self.pointed("current")
        if state == "built":
            return self.build()
        if state == "proven":
            return key, self.prove(key), {}
        if state == "absent":
            return key, self.remove(), {}
        if state == "looked":
            return key or (self.wanted() if self.module.params["arguments"] else self.back()), False, {}
        changed = self.activate(key)
        pointers = {"before": f"current -> {before}\n" if before else "", "after": f"current -> {key}\n"}
        return key, changed, pointers if changed else {}

    def remove(self) -> bool:
        """Take pointers and deployments away. Returns whether there was anything."""
        names = (*POINTERS, "begun", "rollout", "deployments")
        there = [path for name in names if os.path.lexists(path := self.root / name)]
        if not self.module.check_mode:
            for path in there:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if self.root.is_dir() and not any(self.root.iterdir()):
                self.root.rmdir()
        return bool(there)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/var/lib/llama"},
            "state": {
                "type": "str",
                "choices": ["built", "current", "proven", "looked", "absent"],
                "default": "built",
            },
            "deployment": {"type": "str"},
            "rollout": {"type": "str", "default": ""},
            "engine": {"type": "path"},
            "model": {"type": "path"},
            "wanted_engine": {"type": "str"},
            "wanted_model": {"type": "str"},
            "port": {"type": "int", "default": 0},
            "watchdog": {"type": "str", "default": ""},
            "watch": {"type": "list", "elements": "str", "default": []},
            "arguments": {"type": "list", "elements": "list", "default": []},
            "unit": {"type": "str", "default": ""},
            "unit_path": {"type": "path", "default": "/etc/systemd/system/llama-server.service"},
            "restart_due": {"type": "bool", "default": False},
            "restart_after": {"type": "list", "elements": "path", "default": []},
        },
        required_if=[
            ("state", "built", ["engine", "model"]),
            ("state", "current", ["deployment"]),
            ("state", "proven", ["deployment"]),
        ],
        supports_check_mode=True,
    )
    os.umask(0o022)  # whatever the login gave: the service reads what root writes, and nobody else writes
    deployments = Deployments(module)
    try:
        key, changed, diff = deployments.reach()
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or deployments.root}: {error.strerror}. Mend that (make room, where the device is"
            " full) and run again; what serves was not touched"
        )
    fallback = deployments.fallback(key)
    current = deployments.folder(deployments.pointed("current") or "none")
    deployment = json_of(current / "deployment.json")
    served = json_of((current / "model").resolve().with_suffix(".json"))
    looks = module.params["state"] == "looked"
    release, manifest = deployments.manifests() if looks else ({}, {})
    module.exit_json(
        changed=changed,
        key=key,
        current=deployments.pointed("current"),
        previous=deployments.pointed("previous"),
        proven=deployments.pointed("proven"),
        rollout=deployments.rollout(),
        fallback=fallback,
        served=deployments.served(key),
        fallback_served=deployments.served(fallback),
        release=release,
        manifest=manifest,
        deployment=deployment,
        current_served=served_at(deployment.get("arguments", [])),
        served_recipe=str(served.get("recipe", "")),
        port_owner=deployments.port_owner() if looks else "",
        engine=deployments.engine(key),
        running=deployments.process()[0],
        serves=looks and bool(key) and deployments.serves(key),
        stale=not key or deployments.stale(key),
        missing=deployments.missing,
        diff=diff,
    )


if __name__ == "__main__":
    main()
