"""What the modules `gguf_model_info` and `gguf_model` do: look up a model, prepare it, publish it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import (
    ForecastError,
    check_free_space,
    expanded,
    make_forecast,
    matrix_warnings,
    table,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model import (
    Model,
    ModelError,
    Place,
    current_release,
    in_use,
    known_id,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote_source import (
    SourceError,
    path_facts,
    source_facts,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import is_url
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import make_folder

Warn = Callable[[str], None]
#: Options of both modules.
MODEL_OPTIONS: dict[str, Any] = {
    "root": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "recipe_name": {"type": "str", "required": True},
    "recipe": {"type": "dict", "required": True},
    "source_sha256": {"type": "list", "elements": "str", "default": []},
    "engine_root": {"type": "path", "required": True},
}


def model_facts(params: Mapping[str, Any], check: bool, warn: Warn) -> dict[str, Any]:
    """Return what is there of a model and its sources, and what it will be; change nothing, read no large file.

    In check mode a source or matrix that does not exist is a warning, and the forecast is empty: an earlier step of the
    same run may be about to create it. Raises ForecastError, ModelError and OSError.
    """
    root = Path(params["root"])
    found: dict[str, dict[str, Any]] = {}
    given = {what: [digest.lower() for digest in params[f"{what}_sha256"]] for what in ("source", "imatrix")}
    for what, sha256 in given.items():
        found[what] = path_facts("")
        if params[what]:
            try:
                found[what] = source_facts(params[what], sha256, root, params["hub"], params["hub_token"], warn)
            except SourceError as error:
                raise ModelError(error.option(what), str(error), error.code) from None
    source, imatrix = found["source"], found["imatrix"]
    facts: dict[str, Any] = {**found, "forecast": {}, "id": "", "manifest": {}, "path": "", "pointed": False}
    try:
        forecast = make_forecast(
            source["path"] if source["finished"] else params["source"],
            params["recipe"],
            imatrix["path"] if imatrix["finished"] else params["imatrix"],
            params["hub_token"],
            params["hub"],
        )
    except ForecastError as error:
        if not (check and error.missing):
            raise
        warn(f"{error} Until then there is no forecast.")
        return facts
    for warning in forecast.facts["warnings"]:
        warn(f"recipe: {warning}")
    commit = params["engine_commit"] or current_release(Path(params["engine_root"])).get("commit", "")
    model = known_id(root, source, imatrix, given, forecast.recipe, commit)
    place = Place(root, params["name"], params["recipe_name"], model)
    if not (model and place.published()):
        # The matrix is read whole, which a run that finds all finished does not do.
        path = Path(imatrix["path"]) if imatrix["path"] and imatrix["finished"] else None
        for warning in matrix_warnings(forecast, path):
            warn(f"imatrix: {warning}.")
    folder = root / params["name"]
    size = forecast.prediction.file_bytes
    if not any(path.stat().st_size == size for path in folder.glob("*.gguf")):
        check_free_space(folder, size + source["missing_bytes"] + imatrix["missing_bytes"])
    facts["forecast"] = forecast.facts
    if model:
        facts.update(id=model, manifest=place.published(), path=str(place.path), pointed=place.pointed())
    return facts


def model_result(params: Mapping[str, Any], check: bool, warn: Warn) -> dict[str, Any]:
    """Prepare or publish a model, as ``state`` says, and return the module's result.

    Raises ForecastError, ModelError and OSError.
    """
    remote = is_url(params["source"]) or is_url(params["imatrix"])
    imatrix = expanded(params["imatrix"])
    forecast = make_forecast(expanded(params["source"]), params["recipe"], imatrix, params["hub_token"], params["hub"])
    before = in_use(Path(params["root"]) / params["name"], params["recipe_name"])
    diff = {
        "before_header": f"by the recipe {before['recipe']}, {before['size']} bytes" if before else "no model yet",
        "before": table(before.get("groups", {})),
        "after_header": f"by the recipe {params['recipe_name']}, {forecast.prediction.file_bytes} bytes",
        "after": table(forecast.facts["groups"]),
    }
    unknown = {"changed": True, "id": "", "finished": False, "diff": diff}
    if remote and check:
        return unknown
    if remote:
        raise ModelError("source", "not downloaded yet", "not-fetched")
    engine_root = Path(params["engine_root"])
    release = current_release(engine_root)
    if check and params["engine_commit"] not in ("", release.get("commit")):
        release = {"commit": params["engine_commit"], "id": ""}
    if not release and check:
        warn(f"{engine_root}/current has no engine release yet. With one, the model would be made.")
        return unknown
    if not release:
        text = f"{engine_root}/current has no engine release. Run playbooks/build.yml."
        raise ModelError("engine_root", text, "release")
    model = Model(params, forecast, release, keep=not check)
    with contextlib.nullcontext() if check else model.alone():
        return _outcome(params, model, diff, check)


def _outcome(params: Mapping[str, Any], model: Model, diff: dict[str, str], check: bool) -> dict[str, Any]:
    """Publish the model where that is wanted, and return what there is, with the command that makes it."""
    place = model.place
    manifest = place.published()
    changed = not (manifest and place.pointed())
    if params["state"] == "published" and not manifest and not check:
        manifest = model.publish()
    if manifest and not place.pointed() and not check:
        place.point()
    result: dict[str, Any] = {"changed": changed, "id": model.id, "finished": bool(manifest), "path": str(place.path)}
    if changed and params["state"] == "prepared":
        result["diff"] = diff
    if manifest:
        return {**result, "sha256": manifest["sha256"], "manifest": manifest}
    check_free_space(place.folder, model.forecast.prediction.file_bytes)
    if check:
        return result
    make_folder(place.folder)
    if model.made():
        return result
    model.clear()
    argv, chdir = model.argv()
    return {**result, "argv": argv, "chdir": chdir, "job": str(place.job)}
