# SPDX-License-Identifier: Apache-2.0
"""Write what a run has collected into one file for a bug report, without secrets, addresses and host names."""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ansible
import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.ik_llama.pi.plugins.plugin_utils.redact import Redactor, names_of, secrets_of
from ansible_collections.ik_llama.pi.plugins.plugin_utils.roles import PROJECT, role_names

#: Variables of Ansible itself, which say nothing about an inventory.
INTERNAL = ("ansible_", "inventory_", "group_names", "groups", "hostvars", "omit", "playbook_dir", "play_", "role_")


class ActionModule(ActionBase):
    """Action plugin; its options and results are documented in the module of the same name."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        path = Path(str(self._task.args["path"])).expanduser().absolute()
        hosts = {name: resolved(task_vars["hostvars"][name]) for name in sorted(task_vars["hostvars"])}
        bundle = redacted(hosts, versions())
        write(path, bundle)
        unreachable = [name for name, its in hosts.items() if its.get("support_reached", {}).get("unreachable")]
        kinds = sorted({Path(name).name for name in bundle})
        message = [
            f"{path}: {len(bundle)} files ({', '.join(kinds)}).",
            "Secrets, addresses and host names were replaced, as far as they are known. Logs may quote requests:"
            f" look at it before you send it (tar -xzf {path}).",
        ]
        if unreachable:
            message.insert(1, f"Unreachable, so with their variables only: {', '.join(unreachable)}.")
        return {"changed": True, "path": str(path), "files": sorted(bundle), "msg": message}


def resolved(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a host, those left out that cannot be resolved."""
    found = {}
    for name in variables:
        try:
            found[name] = variables[name]
        except (AnsibleError, KeyError):
            found[name] = None
    return found


def versions() -> dict[str, str]:
    """Return the versions of what runs on this machine."""
    manifest, galaxy = PROJECT / "MANIFEST.json", PROJECT / "galaxy.yml"
    if manifest.is_file():
        version = json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"]
    else:
        version = yaml.safe_load(galaxy.read_text(encoding="utf-8"))["version"]
    return {
        "ik_llama.pi": str(version),
        "ansible-core": ansible.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def reports(host: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file about one host."""
    for result in (host.get("support_reports") or {}).get("results", []):
        text = result.get("stdout") or result.get("stderr") or result.get("msg") or ""
        if text:
            yield f"{result['item']['key']}.txt", f"{text}\n"
    facts = host.get("ansible_facts") or {}
    if "pi_base_board" in facts:
        yield "board.json", text_of(facts["pi_base_board"])
    suffixes = ("_plan", "_request")
    plans = {name: host[name] for role in role_names() for name in (role + end for end in suffixes) if name in host}
    if plans:
        yield "plans.json", text_of(plans)
    if host.get("support_failures"):
        yield "failures.json", text_of(host["support_failures"])
    names = sorted(name for name in host if not name.startswith((*INTERNAL, "support_")) and "__" not in name)
    yield "variables.txt", "".join(f"{name}\n" for name in names)


def text_of(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"


def redacted(hosts: Mapping[str, Mapping[str, Any]], about: Mapping[str, str]) -> dict[str, str]:
    """Return the files of the bundle, name to text, without secrets, addresses and host names."""
    every = list(hosts.values())
    redactor = Redactor(
        hosts,
        {secret for variables in every for secret in secrets_of(variables)},
        sorted({name for variables in every for name in names_of(variables)}),
    )
    texts = {"versions.json": text_of(dict(about))}
    texts |= {f"{name}/{file}": text for name, host in hosts.items() for file, text in reports(host)}
    return {redactor.text(name).replace("<", "").replace(">", ""): redactor.text(text) for name, text in texts.items()}


def write(path: Path, files: Mapping[str, str]) -> None:
    """Write a compressed archive of these files that only its owner can read."""
    path.touch(mode=0o600)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in sorted(files.items()):
            content = text.encode("utf-8", "replace")
            member = tarfile.TarInfo(f"{path.name.split('.')[0]}/{name}")
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
