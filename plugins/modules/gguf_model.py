#!/usr/bin/python
"""Ansible module: one quantized model among the models of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_model
short_description: Says whether a quantized model stands, and publishes it when it is made
description:
  - A model is named by a key, made from the sha256 of source and importance matrix, all of the recipe that reaches the
    engine, and the engine's commit. It lies at C(root/name/KEY.gguf) and is finished when its manifest C(KEY.json) is
    beside it. The pointer C(root/name/RECIPE.json) names the manifest of the model in use.
  - With C(state=looked) the module says whether the model stands. Where it does, the pointer is made to name it; where
    not, the command that makes it is returned, and whether there is room is checked.
  - With C(state=published) what that command made is compared with the prediction, tensor by tensor and in size. Only
    then it gets its name, its manifest and, last, the pointer. What differs is removed.
  - The sources are read whole only when they have changed since their sha256 was noted in C(root/.stamps).
options:
  root:
    description: Folder of all models.
    type: path
    required: true
  name:
    description: Name of the model.
    type: str
    required: true
  recipe_name:
    description: Name of the recipe, for the pointer.
    type: str
    required: true
  recipe:
    description: The recipe's data, as read from its file.
    type: dict
    required: true
  source:
    description:
      - The GGUF file to quantize, of a split one its first part. Where it is still a URL, in check mode, the plan
        is made from what its server sends.
    type: str
    required: true
  source_sha256:
    description: What the sha256 of the source, or of each of its parts, must be. Empty where that is not known.
    type: list
    elements: str
    default: []
  imatrix:
    description: The importance matrix. Empty where there is none.
    type: str
    default: ""
  source_from:
    description: What the source was fetched from, for the manifest. Empty where it was not.
    type: str
    default: ""
  imatrix_from:
    description: What the importance matrix was fetched from, for the manifest.
    type: str
    default: ""
  hub:
    description: The server of C(hf://) locations.
    type: str
    default: https://huggingface.co
  token:
    description: Access token for the hub. No other server gets it.
    type: str
    default: ""
  engine_root:
    description: Folder of engine releases; the one that C(current) points to is used.
    type: path
    required: true
  threads:
    description: Threads that quantize; 0 are as many as the host has.
    type: int
    default: 0
  state:
    description: What to do.
    type: str
    choices: [looked, published]
    default: looked
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: See whether the model stands
  gguf_model:
    root: /models
    name: qwen3.5-35b-a3b
    recipe_name: rpi5-16gb-card
    recipe: "{{ recipe }}"
    source: /models/Qwen3.5-35B-A3B-Q8_0.gguf
    imatrix: /models/imatrix.dat
    engine_root: /opt/ik_llama
  register: model
"""

RETURN = r"""
key:
  description: The model's key. Empty in check mode where there is no engine yet.
  returned: success
  type: str
finished:
  description: Whether the model stands.
  returned: success
  type: bool
path:
  description: Where it is, or will be.
  returned: when there is a key
  type: str
argv:
  description: The command that makes it. Not there where that command has ended and left its result.
  returned: when it does not stand, outside check mode
  type: list
  elements: str
chdir:
  description: Where that command must run.
  returned: when it does not stand, outside check mode
  type: str
job:
  description: Folder for the state of that command.
  returned: when it does not stand, outside check mode
  type: str
sha256:
  description: The model's own sha256.
  returned: when it stands
  type: str
argument:
  description: Which option is wrong.
  returned: failure
  type: str
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.common.atomic import names, point, write_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_key
from ansible_collections.ik_llama.pi.plugins.module_utils.common.jobs import locked
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import sha256_of, stamped_sha256
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import (
    Plan,
    PlanError,
    check_room,
    make_plan,
    read_gguf,
    table,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import differences, effective, quantize_argv
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import shown
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB, is_url, part_locations
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import make_folder, stamp_path

SHOWN = 20  # of the tensors that differ


class ModelError(Exception):
    """The model cannot be made or published; ``argument`` names the option to change, ``code`` what is wrong."""

    def __init__(self, argument: str, text: str, code: str) -> None:
        super().__init__(text)
        self.argument = argument
        self.code = code


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file, empty where there is none, or half of one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def in_use(folder: Path, recipe_name: str) -> dict[str, Any]:
    """The manifest of the model that a new one is compared with: of this recipe, or else the newest of any."""
    pointers = [path for path in folder.glob("*.json") if path.is_symlink()]
    pointers.sort(key=lambda path: path.lstat().st_mtime)
    for pointer in [folder / f"{recipe_name}.json", *reversed(pointers)]:
        manifest = read_json(pointer)
        if {"recipe", "size", "groups"} <= set(manifest):
            return manifest
    return {}


class Model:
    """One model: its inputs, its key and its files."""

    def __init__(self, params: dict[str, Any], plan: Plan, release: dict[str, Any], keep: bool) -> None:
        self.params = params
        self.plan = plan
        self.source = Path(params["source"]).expanduser()
        self.imatrix = Path(params["imatrix"]).expanduser() if params["imatrix"] else None
        self.folder = Path(params["root"]) / params["name"]
        source = self._source(keep)
        matrix = self._stamped(self.imatrix, "imatrix", keep) if self.imatrix else None
        self.inputs = {
            "source": {**source, **self._origin("source_from")},
            "imatrix": matrix and {**matrix, **self._origin("imatrix_from")},
            "engine": {"commit": release["commit"], "key": release["key"]},
        }
        self.key = content_key(
            {
                "source": source["sha256"],
                "imatrix": matrix["sha256"] if matrix else None,
                "recipe": effective(plan.recipe),
                "engine": release["commit"],
            }
        )
        self.path = self.folder / f"{self.key}.gguf"
        self.part = self.folder / f"{self.key}.gguf.part"
        self.manifest = self.folder / f"{self.key}.json"
        self.pointer = self.folder / f"{params['recipe_name']}.json"
        # One for all models: only one is quantized at a time.
        self.job = Path(params["root"]) / ".jobs" / "quantize"
        for made in (self.path, self.part):
            if any(Path(part).resolve() == made.resolve() for part in part_locations(str(self.source))):
                raise ModelError(
                    "source", f"{self.source} is where the model itself would be made; put it elsewhere", "place"
                )

    def _origin(self, argument: str) -> dict[str, str]:
        """Where a file was fetched from, without what may be secret in a URL."""
        return {"from": shown(self.params[argument])} if self.params[argument] else {}

    def _source(self, keep: bool) -> dict[str, Any]:
        """The source's file (of a split one the first part), size and sha256: of several parts that of all theirs."""
        paths = [Path(part) for part in part_locations(str(self.source))]
        wanted = [sha256.lower() for sha256 in self.params["source_sha256"]]
        if wanted and len(wanted) != len(paths):
            raise ModelError(
                "source_sha256", f"{self.source} has {len(paths)} parts: give a sha256 for each, or none", "count"
            )
        parts = [self._stamped(path, "source", keep) for path in paths]
        for path, part, sha256 in zip(paths, parts, wanted):
            if part["sha256"] != sha256:
                raise ModelError(
                    "source_sha256",
                    f"{path} has the sha256 {part['sha256']}, not {sha256}: "
                    "it is damaged or another file; get it again, or correct the number",
                    "sum",
                )
        if len(parts) == 1:
            return parts[0]
        every = "".join(f"{part['sha256']}  {part['file']}\n" for part in parts)
        whole = {"sha256": hashlib.sha256(every.encode()).hexdigest(), "size": sum(part["size"] for part in parts)}
        return {**whole, "file": parts[0]["file"], "parts": parts}

    def _stamped(self, path: Path, argument: str, keep: bool) -> dict[str, Any]:
        root = Path(self.params["root"])
        try:
            if keep:
                make_folder(root / ".stamps")
            sha256, _ = stamped_sha256(path, stamp_path(root, path), keep)
            return {"sha256": sha256, "size": path.stat().st_size, "file": path.name}
        except OSError as error:
            raise ModelError(argument, str(error), "file") from None

    def standing(self) -> dict[str, Any]:
        """The manifest, if the model is finished."""
        manifest = read_json(self.manifest)
        whole = self.path.is_file() and self.path.stat().st_size == manifest.get("size")
        return manifest if whole else {}

    def pointed(self) -> bool:
        return names(self.pointer, self.manifest.name)

    def argv(self) -> tuple[list[str], str]:
        """The command, and where it runs: beside the matrix, whose name (not path) then goes into the file."""
        program = Path(self.params["engine_root"], "current", "bin", "llama-quantize").resolve()
        if not os.access(program, os.X_OK):
            raise ModelError(
                "engine_root",
                f"{program} is not there; add llama-quantize to ik_llama_build_targets and run playbooks/build.yml",
                "program",
            )
        command = quantize_argv(
            self.plan.recipe,
            str(program),
            str(self.source.absolute()),
            str(self.part.absolute()),
            self.imatrix.name if self.imatrix else "",
            self.params["threads"],
        )
        return command, str((self.imatrix or self.source).absolute().parent)

    def made(self) -> bool:
        """Whether the very command has ended well and left its result, while nobody was there to publish it."""
        job, ended = read_json(self.job / "job.json"), read_json(self.job / "exit.json")
        return (
            self.part.is_file()
            and ended.get("rc") == 0
            and "id" in job
            and ended.get("id") == job["id"]
            and self.argv() == (job.get("argv"), job.get("chdir"))
            and not locked(str(self.job))
            and self.part.stat().st_mtime >= job.get("started", float("inf"))
        )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait for others that are about to publish, or to begin, on this host; none does meanwhile."""
        make_folder(self.job)
        with (self.job / "publish.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def clear(self) -> None:
        """Remove what other attempts have left half made. Nobody works on it: the lock says so.

        What the last command has finished stays: whoever started it may be about to publish it.
        """
        if locked(str(self.job)):
            return
        job, ended = read_json(self.job / "job.json"), read_json(self.job / "exit.json")
        well = ended.get("rc") == 0 and ended.get("id") == job.get("id")
        for part in Path(self.params["root"]).glob("*/*.gguf.part"):
            if part != self.part and not (well and str(part.absolute()) in job.get("argv", [])):
                part.unlink()

    def publish(self) -> dict[str, Any]:
        """Compare what was made with what was predicted, then name it, write the manifest, move the pointer."""
        if not self.part.exists():
            raise ModelError(
                "source", f"{self.part} was not made; source, recipe or engine changed meanwhile: run again", "part"
            )
        size = self.part.stat().st_size
        code = "differs"
        try:
            wrong = differences(self.plan.prediction, read_gguf(self.part), size)
        except GGUFError as error:
            wrong, code = [str(error)], error.code
        if wrong:
            self.part.unlink()
            more = f"\nand {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
            raise ModelError(
                "recipe",
                "the engine did not make what the recipe says; the file was removed, nothing was published:\n"
                + "\n".join(wrong[:SHOWN])
                + more
                + "\nWhere the engine does so on purpose, say it in the recipe under 'engine'.",
                code,
            )
        self.part.chmod(0o644)
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        manifest = {
            "format": 1,
            "name": self.params["name"],
            "recipe": self.params["recipe_name"],
            "key": self.key,
            "file": self.path.name,
            "size": size,
            "sha256": sha256_of(self.part),
            "quantized": effective(self.plan.recipe),
            **self.inputs,
            **{name: self.plan.facts[name] for name in ("architecture", "hparams", "tensor_bytes", "types", "groups")},
        }
        self.manifest.unlink(missing_ok=True)
        self.part.replace(self.path)
        write_file(self.manifest, json.dumps(manifest, indent=1) + "\n")
        point(self.pointer, self.manifest.name)
        return manifest


def run(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    remote = is_url(params["source"]) or is_url(params["imatrix"])

    def location(given: str) -> Path | str:
        return given if is_url(given) else Path(given).expanduser()

    imatrix = location(params["imatrix"]) if params["imatrix"] else None
    plan = make_plan(location(params["source"]), params["recipe"], imatrix, params["token"], params["hub"])
    folder = Path(params["root"]) / params["name"]
    before = in_use(folder, params["recipe_name"])
    diff = {
        "before_header": f"by the recipe {before['recipe']}, {before['size']} bytes" if before else "no model yet",
        "before": table(before.get("groups", {})),
        "after_header": f"by the recipe {params['recipe_name']}, {plan.prediction.file_bytes} bytes",
        "after": table(plan.facts["groups"]),
    }
    if remote and module.check_mode:
        return {"changed": True, "key": "", "finished": False, "diff": diff}
    if remote:
        raise ModelError("source", "it is not fetched yet", "not-fetched")
    release = read_json(Path(params["engine_root"]) / "current" / "release.json")
    if not {"commit", "key"} <= set(release):
        if module.check_mode:
            module.warn(f"{params['engine_root']}/current has no engine release yet; with one, the model would be made")
            return {"changed": True, "key": "", "finished": False, "diff": diff}
        raise ModelError(
            "engine_root",
            f"{params['engine_root']}/current has no engine release; make it with playbooks/build.yml",
            "release",
        )

    model = Model(params, plan, release, keep=not module.check_mode)
    with contextlib.nullcontext() if module.check_mode else model.alone():
        return outcome(module, model, diff)


def outcome(module: AnsibleModule, model: Model, diff: dict[str, Any]) -> dict[str, Any]:
    """Look at the model, publish it where that is asked for, and say what there is."""
    params, plan = module.params, model.plan
    manifest = model.standing()
    changed = not (manifest and model.pointed())
    if params["state"] == "published" and not manifest and not module.check_mode:
        manifest = model.publish()
    if manifest and not model.pointed() and not module.check_mode:
        point(model.pointer, model.manifest.name)
    result: dict[str, Any] = {"changed": changed, "key": model.key, "finished": bool(manifest), "path": str(model.path)}
    if changed and params["state"] == "looked":
        result["diff"] = diff
    if manifest:
        return {**result, "sha256": manifest["sha256"]}
    check_room(model.folder, plan.prediction.file_bytes)
    if module.check_mode:
        return result
    make_folder(model.folder)
    if model.made():
        return result
    model.clear()
    argv, chdir = model.argv()
    return {**result, "argv": argv, "chdir": chdir, "job": str(model.job)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "recipe_name": {"type": "str", "required": True},
            "recipe": {"type": "dict", "required": True},
            "source": {"type": "str", "required": True},
            "source_sha256": {"type": "list", "elements": "str", "default": []},
            "imatrix": {"type": "str", "default": ""},
            "source_from": {"type": "str", "default": ""},
            "imatrix_from": {"type": "str", "default": ""},
            "hub": {"type": "str", "default": HUB},
            "token": {"type": "str", "default": "", "no_log": True},
            "engine_root": {"type": "path", "required": True},
            "threads": {"type": "int", "default": 0},
            "state": {"type": "str", "choices": ["looked", "published"], "default": "looked"},
        },
        supports_check_mode=True,
    )

    def fail(error: Exception, argument: str) -> NoReturn:
        module.fail_json(msg=str(error), argument=argument)
        raise SystemExit(1)

    try:
        result = run(module)
    except (PlanError, ModelError) as error:
        fail(error, error.argument)
    except OSError as error:
        fail(error, "root")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
