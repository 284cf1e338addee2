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
    description: The GGUF file to quantize.
    type: path
    required: true
  source_sha256:
    description: What the source's sha256 must be. Empty where that is not known.
    type: str
    default: ""
  imatrix:
    description: The importance matrix. Empty where there is none.
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
  description: The command that makes it.
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

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.atomic import names, point, write_file
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gguf import GGUFError
from ansible.module_utils.keys import content_key
from ansible.module_utils.model_plan import Plan, PlanError, check_room, make_plan, read_gguf, table
from ansible.module_utils.recipe import differences, effective, quantize_argv
from ansible.module_utils.stamp import sha256_of, stamped_sha256

SHOWN = 20  # of the tensors that differ


class ModelError(Exception):
    """The model cannot be made or published; ``argument`` names the option to change."""

    def __init__(self, argument: str, text: str) -> None:
        super().__init__(text)
        self.argument = argument


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file, empty where there is none, or half of one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def make_folder(path: Path) -> None:
    """Make the folder, readable by all whatever the umask is."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)


class Model:
    """One model: its inputs, its key and its files."""

    def __init__(self, params: dict[str, Any], plan: Plan, release: dict[str, Any], keep: bool) -> None:
        self.params = params
        self.plan = plan
        self.source = Path(params["source"])
        self.imatrix = Path(params["imatrix"]).expanduser() if params["imatrix"] else None
        self.folder = Path(params["root"]) / params["name"]
        source = self._stamped(self.source, "source", keep)
        matrix = self._stamped(self.imatrix, "imatrix", keep) if self.imatrix else None
        self.inputs = {
            "source": source,
            "imatrix": matrix,
            "engine": {"commit": release["commit"], "key": release["key"]},
        }
        wanted = params["source_sha256"]
        if wanted and source["sha256"] != wanted.lower():
            raise ModelError(
                "source_sha256",
                f"{self.source} has the sha256 {source['sha256']}, not {wanted}: "
                "it is damaged or another file; get it again, or correct the number",
            )
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
        self.job = self.folder / ".jobs" / self.key

    def _stamped(self, path: Path, argument: str, keep: bool) -> dict[str, Any]:
        stamps = Path(self.params["root"]) / ".stamps"
        try:
            if keep:
                make_folder(stamps)
            where = stamps / (hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12] + ".json")
            sha256, _ = stamped_sha256(path, where, keep)
            return {"sha256": sha256, "size": path.stat().st_size, "file": path.name}
        except OSError as error:
            raise ModelError(argument, str(error)) from None

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

    def publish(self) -> dict[str, Any]:
        """Compare what was made with what was predicted, then name it, write the manifest, move the pointer."""
        if not self.part.exists():
            raise ModelError(
                "source", f"{self.part} was not made; source, recipe or engine changed meanwhile: run again"
            )
        size = self.part.stat().st_size
        try:
            wrong = differences(self.plan.prediction, read_gguf(self.part), size)
        except GGUFError as error:
            wrong = [str(error)]
        if wrong:
            self.part.unlink()
            more = f"\nand {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
            raise ModelError(
                "recipe",
                "the engine did not make what the recipe says; the file was removed, nothing was published:\n"
                + "\n".join(wrong[:SHOWN])
                + more
                + "\nWhere the engine does so on purpose, say it in the recipe under 'engine'.",
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
            **self.inputs,
            **{name: self.plan.facts[name] for name in ("architecture", "hparams", "tensor_bytes", "types", "groups")},
        }
        self.manifest.unlink(missing_ok=True)
        self.part.replace(self.path)
        write_file(self.manifest, json.dumps(manifest, indent=1) + "\n")
        point(self.pointer, self.manifest.name)
        shutil.rmtree(self.job, ignore_errors=True)
        return manifest


def run(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    imatrix = Path(params["imatrix"]).expanduser() if params["imatrix"] else None
    plan = make_plan(Path(params["source"]), params["recipe"], imatrix)
    folder = Path(params["root"]) / params["name"]
    before = read_json(folder / f"{params['recipe_name']}.json")
    diff = {
        "before_header": "model in use",
        "before": table(before.get("groups", {})),
        "after_header": f"by the recipe {params['recipe_name']}, {plan.prediction.file_bytes} bytes",
        "after": table(plan.facts["groups"]),
    }
    release = read_json(Path(params["engine_root"]) / "current" / "release.json")
    if not {"commit", "key"} <= set(release):
        if module.check_mode:
            module.warn(f"{params['engine_root']}/current has no engine release yet; with one, the model would be made")
            return {"changed": True, "key": "", "finished": False, "diff": diff}
        raise ModelError(
            "engine_root", f"{params['engine_root']}/current has no engine release; make it with playbooks/build.yml"
        )

    model = Model(params, plan, release, keep=not module.check_mode)
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
    argv, chdir = model.argv()
    return {**result, "argv": argv, "chdir": chdir, "job": str(model.job)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "recipe_name": {"type": "str", "required": True},
            "recipe": {"type": "dict", "required": True},
            "source": {"type": "path", "required": True},
            "source_sha256": {"type": "str", "default": ""},
            "imatrix": {"type": "str", "default": ""},
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
