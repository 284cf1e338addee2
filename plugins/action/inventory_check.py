# SPDX-License-Identifier: Apache-2.0
"""Check the inventory alone: every host's variables against the roles that run on it. No host is reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json, read_text
from ansible_collections.ik_llama.pi.plugins.module_utils.server.checks import server_problems
from ansible_collections.ik_llama.pi.plugins.plugin_utils.fleet_forecast import BOARDS
from ansible_collections.ik_llama.pi.plugins.plugin_utils.inventory_check import (
    address_clashes,
    by_text,
    group_problems,
    lines_of,
    misread,
    misspelt,
    thread_notes,
    unread_files,
    where_set,
)
from ansible_collections.ik_llama.pi.plugins.plugin_utils.roles import PROJECT, role_names, specification

#: What a board's server cannot be judged without.
OPTIONS = (
    *("host", "port", "threads", "threads_batch", "context", "parallel"),
    *("cache_type_k", "cache_type_v", "batch", "ubatch", "extra"),
)
#: Cores of the boards that fleet_forecast knows.
CORES = 4


class Host:
    """The variables of one host, as they are written and as they are resolved."""

    def __init__(self, name: str, raw: dict[str, Any], defaults: dict[str, Any], loader: Any) -> None:
        self.name = name
        self.raw = raw
        self.variables = {**defaults, **raw}
        self.templar = Templar(loader=loader, variables=self.variables)

    def value(self, variable: str) -> Any:
        """Return a variable with its templates resolved. AnsibleError where they cannot be."""
        return self.templar.template(self.variables[variable])

    def known(self, variable: str, default: Any = None) -> Any:
        """Return the same, and the default where it is not set or cannot be resolved."""
        try:
            return self.value(variable) if variable in self.variables else default
        except AnsibleError:
            return default


class ActionModule(ActionBase):
    """Action plugin; its options and results are documented in the module of the same name."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        args = self._task.args
        groups = {name: list(hosts) for name, hosts in task_vars["groups"].items() if name not in ("all", "ungrouped")}
        roles = role_names()
        self.specs = {role: specification(role) for role in roles}
        known = {name for spec in self.specs.values() for name in spec} | set(args["playbook_variables"])
        problems = [("", sentence) for sentence in group_problems(groups, args["needed"], args["optional"])]
        notes: list[tuple[str, str]] = []
        addresses = {}
        hosts = {}
        texts: dict[str, str] = {}
        runs: dict[str, list[str]] = {}
        for name in sorted({host for members in groups.values() for host in members}):
            of = [role for group, found in args["roles"].items() if name in groups.get(group, []) for role in found]
            runs[name] = [role for role in dict.fromkeys(of) if role in self.specs]
            hosts[name] = Host(name, task_vars["hostvars"].raw_get(name), self._defaults(runs[name]), self._loader)
        # A user's own recipe is named by its path, or once it was used by its name.
        shipped = (PROJECT / "roles/gguf_quantize/files/recipes").glob("*.yml")
        own = (str(host.known("gguf_quantize_recipe", "")) for host in hosts.values())
        recipes = sorted({path.stem for path in shipped} | {Path(recipe).stem for recipe in own if "/" in recipe})
        for name, host in hosts.items():
            files = self._files(host, [group for group, members in groups.items() if name in members])
            texts.update(files)
            problems += [(name, sentence) for sentence in self._names(host, known, roles, files)]
            wrong = [(name, sentence) for sentence in self._types(host, runs[name], files)]
            problems += wrong
            if host.known("ansible_connection", "ssh") != "local":
                port = str(host.known("ansible_port") or 22)
                addresses[name] = (str(host.known("ansible_host", name)), port)
                if not port.isdigit() or not 0 < int(port) < 65536:
                    problems.append((name, f"a port is a number from 1 to 65535 (ansible_port = {port})"))
            # Values of a wrong type mean nothing.
            for kind, sentence in self._meaning(host, runs[name], set(hosts), recipes) if not wrong else []:
                (problems if kind == "problem" else notes).append((name, sentence))
        problems += [("", sentence) for sentence in [*unread_files(texts), *address_clashes(addresses)]]
        options = {name: option for spec in self.specs.values() for name, option in spec.items()}
        for path, text in sorted(texts.items()):
            if path.endswith((".yml", ".yaml")):
                problems += [("", f"{name} ({path}:{line}): {said}") for name, line, said in misread(text, options)]
        noted = lines_of(notes)
        if problems:
            lines = lines_of(problems)
            return {
                "failed": True,
                "msg": "\n".join([f"The inventory is not valid, for {len(lines)} reasons:", *lines, *noted]),
                "problems": by_text(problems),
                "notes": by_text(notes),
            }
        return {
            "changed": False,
            "msg": [f"The inventory of {len(hosts)} hosts is valid.", *noted],
            "problems": [],
            "notes": by_text(notes),
        }

    def _defaults(self, roles: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for role in roles:
            for kind in ("defaults", "vars"):
                path = PROJECT / "roles" / role / kind / "main.yml"
                if path.is_file():
                    found.update(self._loader.load_from_file(str(path), trusted_as_template=True) or {})
        return found

    def _files(self, host: Host, groups: list[str]) -> dict[str, str]:
        """Return the texts of the files that may set variables of a host, by their paths, the strongest last."""
        folders = [Path(str(host.raw.get("inventory_dir") or ".")), Path(self._loader.get_basedir())]
        places = [Path(str(host.raw.get("inventory_file") or ""))]
        for folder in dict.fromkeys(folders):
            for owner in ["group_vars/all", *(f"group_vars/{group}" for group in groups), f"host_vars/{host.name}"]:
                base = folder / owner
                places += [base, *(base.with_name(f"{base.name}{end}") for end in (".yml", ".yaml", ".json"))]
                places += sorted(path for path in base.rglob("*")) if base.is_dir() else []
        files = {}
        for path in places:
            if path.is_file():
                text = read_text(path)
                files[str(path)] = "" if text.startswith("$ANSIBLE_VAULT") else text
        return files

    def _names(self, host: Host, known: set[str], roles: list[str], files: dict[str, str]) -> Iterator[str]:
        text = "\n".join(str(value) for value in host.raw.values() if isinstance(value, (str, list, dict)))
        own = [name for name in host.raw if where_set(files, name)]
        for name, meant in misspelt(own, known, roles, text).items():
            hint = f"Did you mean {meant}?" if meant else "Remove it"
            yield f"unknown variable {name} ({where_set(files, name)}). {hint}"

    def _types(self, host: Host, roles: list[str], files: dict[str, str]) -> Iterator[str]:
        """Yield what is wrong with the types of variables that the inventory sets, by the roles' specifications."""
        for role in roles:
            spec = self.specs[role]
            values = {}
            for name in spec:
                if name not in host.raw:
                    continue
                where = where_set(files, name)
                place = f" ({where})" if where else ""
                try:
                    values[name] = host.value(name)
                except AnsibleError as error:
                    # What a vault contains is not read here.
                    if "vault secret" not in str(error).lower():
                        reason = str(error).partition("\n")[0].rstrip(".")
                        yield f"{name}{place} cannot be resolved: {reason}"
                    continue
                checked = ArgumentSpecValidator({name: spec[name]}).validate({name: values[name]})
                for message in checked.error_messages:
                    yield f"{name}{place}: {message}"

    def _meaning(self, host: Host, roles: list[str], hosts: set[str], recipes: list[str]) -> Iterator[tuple[str, str]]:
        """Yield what the values mean: `problem` or `note`, and a sentence."""
        for role in ("gguf_quantize", "gguf_distribute"):
            recipe = str(host.known(f"{role}_recipe", "")) if role in roles else ""
            if recipe and "/" not in recipe and recipe not in recipes:
                known = ", ".join(recipes)
                yield "problem", f"unknown recipe ({role}_recipe = {recipe}). Use one of {known}"
        for role, name in (("gguf_distribute", "gguf_distribute_from"), ("ik_llama_build", "ik_llama_build_builder")):
            other = host.known(name) if role in roles else None
            # Ansible's implicit localhost can compile, but has made no model.
            if other and other not in (hosts if role == "gguf_distribute" else hosts | {"localhost"}):
                yield "problem", f"no such host is in the inventory ({name} = {other}). Add it, or name another"
        if "llama_server" not in roles:
            return
        options, keys = self._options(host), host.known("llama_server_api_keys")
        if any(name not in options for name in OPTIONS):
            return
        kind = str(host.known("fleet_forecast_board", ""))
        memory = int(host.known("fleet_forecast_memory_mib") or BOARDS.get(kind, {}).get("memory_mib", 0))
        plan = self._manifest(host) if memory else {}
        reserve = int(host.known("llama_server_memory_reserve_mib"))
        # Keys that only a vault contains are assumed to be good.
        keys = keys if isinstance(keys, list) else ["x" * 32]
        for sentence in server_problems(options, keys, {"memory_mib": memory}, reserve, plan):
            yield "problem", sentence
        if kind in BOARDS:
            yield from (("note", sentence) for sentence in thread_notes(options, CORES))
        if memory and not plan:
            yield "note", "whether the model fits into memory is not known yet. Run ik_llama.pi.plan to forecast it"

    def _options(self, host: Host) -> dict[str, Any]:
        """Return the server's options, of the types of their specification, those left out that cannot be resolved."""
        spec = self.specs["llama_server"]
        values = {name: host.known(name) for name in spec}
        values = {name: value for name, value in values.items() if value is not None}
        checked = ArgumentSpecValidator({name: spec[name] for name in values}).validate(values)
        return {name.removeprefix("llama_server_"): value for name, value in checked.validated_parameters.items()}

    def _manifest(self, host: Host) -> dict[str, Any]:
        """Return the manifest of the model that a board gets, if this machine made it."""
        if host.known("gguf_distribute_from") != "localhost":
            return {}
        names = [host.known(f"gguf_distribute_{part}", "") for part in ("source_root", "name", "recipe")]
        path = Path(str(names[0])).expanduser() / str(names[1]) / f"{Path(str(names[2])).stem}.json"
        return read_json(path, {})
