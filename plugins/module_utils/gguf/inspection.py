"""What a GGUF file is: whether it is a model that can be served, its tensors, and which recipe it follows.

Only the header is read. A file type (``Q4_K_M``) is treated as a recipe without rules: the engine's own choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import read_stamp
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.download import look
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.file_type import FEWEST_EXPERTS
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import hyperparameters
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import forecast_facts
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    DEFAULT_ALIGNMENT,
    GGUFError,
    Header,
    Tensor,
    refusal,
    tensor_bytes,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import (
    Prediction,
    Recipe,
    RecipeError,
    group_of,
    load_recipe,
    of_file_types,
    predict,
    quantizable,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import FetchError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import Source, is_url, open_source, token_for
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import stamp_path

#: Of the tensors that a recipe decides, the part that may differ in a file that still counts as made by it.
NEAR = 0.5


def _groups(tensors: tuple[Tensor, ...]) -> list[dict[str, Any]]:
    """Return what each kind of tensor is: ``group``, ``type``, number of ``tensors``, ``bytes``, ``bits`` a weight."""
    table: dict[tuple[str, str], list[int]] = {}
    for tensor in tensors:
        row = table.setdefault((group_of(tensor.name), tensor.type), [0, 0, 0])
        row[0] += 1
        row[1] += tensor_bytes(tensor.type, tensor.shape)
        row[2] += tensor.elements
    return [
        {"group": name, "type": kind, "tensors": count, "bytes": size, "bits": round(size * 8 / elements, 2)}
        for (name, kind), (count, size, elements) in table.items()
    ]


def _base_models(metadata: Mapping[str, Any]) -> list[str]:
    """Return the repositories of the models that this one was made from, as its header names them."""
    count = metadata.get("general.base_model.count", 0)
    found = [
        metadata.get(f"general.base_model.{index}.repo_url", "") for index in range(count if count in range(9) else 0)
    ]
    return [url for url in found if isinstance(url, str) and url]


def _compared(recipe: Recipe, header: Header, matrix: Imatrix | None) -> dict[str, Any]:
    """Return where the file departs from what a recipe makes of its shapes. Raises RecipeError."""
    if recipe.requires_imatrix and matrix is None:
        matrix = Imatrix(1, 1, "")
    open_to_all = replace(recipe, allow_requantize=True)
    shapes = tuple(replace(item, type="bf16") if quantizable(item) else item for item in header.tensors)
    source = replace(header, tensors=shapes, alignment=DEFAULT_ALIGNMENT)
    predicted = predict(open_to_all, source, matrix, "").tensors
    departures: dict[tuple[str, str, str], int] = {}
    for wanted, found in zip(predicted, header.tensors):
        if wanted.type != found.type:
            key = (group_of(found.name), found.type, wanted.type)
            departures[key] = departures.get(key, 0) + 1
    return {
        "tensors": len(header.tensors),
        "decided": sum(map(quantizable, header.tensors)),
        "differ": sum(departures.values()),
        "departures": [
            {"group": name, "is": kind, "by_recipe": wanted, "tensors": count}
            for (name, kind, wanted), count in departures.items()
        ],
    }


def comparisons(header: Header, recipes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how near the file is to each recipe and file type, the nearest first.

    Of each: ``name``, ``kind`` (``recipe`` or ``file type``), how many ``tensors`` there are, how many of them the
    recipe has ``decided`` and how many ``differ``, and the ``departures``: ``group``, the type that it ``is`` and that
    it has ``by_recipe``, number of ``tensors``. Recipes for another architecture are left out. File types are
    compared where the engine's choices are known (models with experts).

    Args:
        header: of the file.
        recipes: data by name.

    Raises RecipeError for a recipe that is wrong in itself.
    """
    entries = header.metadata.get("quantize.imatrix.entries_count", 0)
    matrix = Imatrix(1, 1, "") if isinstance(entries, int) and entries > 0 else None
    experts = header.metadata.get(f"{header.architecture}.expert_count", 0)
    found = []
    wanted = [("recipe", name, load_recipe(data)) for name, data in recipes.items()]
    if isinstance(experts, int) and experts >= FEWEST_EXPERTS:
        types = {tensor.type for tensor in header.tensors}
        wanted += [("file type", name, recipe) for name, recipe in of_file_types(header.architecture, types).items()]
    for kind, name, recipe in wanted:
        try:
            found.append({"name": name, "kind": kind, **_compared(recipe, header, matrix)})
        except RecipeError:
            # For another architecture, or for shapes that it does not fit.
            continue
    return sorted(found, key=lambda item: item["differ"])


def stated_sha256(source: Source, token: str | None, hub: str, root: Path | None) -> list[dict[str, str]]:
    """Return name and sha256 of each part, as somebody states it; an empty sha256 where nobody does.

    Nothing is read for it. ``by`` is ``repository`` for a hub, ``stamp`` for a file that this project has verified
    and that has not changed since: its stamp is next to it, or below ``root`` (folder of models of a quantizer).
    """
    found = []
    for part in source.parts:
        sha256 = by = ""
        if is_url(part):
            try:
                remote = look(part, token_for(part, token, hub), "")
                sha256, by = remote.sha256, remote.digest_from
            except FetchError as error:
                if error.code not in ("sha256", "url"):
                    raise
        else:
            path = Path(part)
            stamps = [path.with_name(f"{path.name}.stamp"), *([stamp_path(root, path)] if root else [])]
            sha256 = next(filter(None, (read_stamp(path, stamp) for stamp in stamps)), "")
            by = "stamp" if sha256 else ""
        found.append({"name": part.partition("?")[0].rpartition("/")[2], "sha256": sha256, "by": by})
    return found


def inspect(
    location: str, recipes: Mapping[str, Any], claim: str, token: str | None, hub: str, root: Path | None = None
) -> dict[str, Any]:
    """Read the header of the file at ``location`` and return all that follows from it.

    Args:
        location: as `open_source` takes it.
        recipes: data by name.
        claim: name of the recipe that the publisher's description is; empty for none.
        token, hub: as `open_source` takes them.
        root: folder of models of a quantizer, for stamps.

    Returns:
        What module `gguf_file_info` documents.

    Raises:
        GGUFError: for a file that is no model, or a broken one. RecipeError, OSError (FetchError), ServerBusy.
    """
    source = open_source(location, token, hub)
    header = source.header
    if reason := refusal(header):
        raise GGUFError(*reason)
    hparams = hyperparameters(header)
    prediction = Prediction(header.tensors, header.tensor_bytes, source.size)
    near = comparisons(header, recipes)
    claimed = next((item for item in near if item["name"] == claim), None) if claim else None
    if claim and claimed is None:
        raise RecipeError(f"the recipe {claim!r} is not for {header.architecture} models of these shapes", claim)
    return {
        "bytes": source.size,
        "transferred": source.transferred,
        "name": str(header.metadata.get("general.name", "")),
        "license": str(header.metadata.get("general.license", "")),
        "base_models": _base_models(header.metadata),
        "chat_template": bool(header.metadata.get("tokenizer.chat_template")),
        "sha256": stated_sha256(source, token, hub, root),
        "tensor_groups": _groups(header.tensors),
        "bits": round(header.tensor_bytes * 8 / hparams["elements"], 2),
        "follows": [item["name"] for item in near if not item["differ"]],
        "nearest": next((item for item in near if item["differ"] <= NEAR * item["decided"]), {}),
        "claimed": claimed or {},
        "forecast": forecast_facts(header.architecture, hparams, prediction),
    }
