"""What quantizing a source by a recipe will give: read from files on this host, before anything is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import (
    ROUNDED_ON_ARM,
    bits,
    bytes_per_token,
    hyperparameters,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError, Header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix, ImatrixError, read_imatrix
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import (
    Prediction,
    Recipe,
    RecipeError,
    groups,
    load_recipe,
    plain,
    predict,
    quantizable,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import shown
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB, Source, is_url, open_source


class PlanError(ValueError):
    """There is no plan; ``argument`` names what is wrong, ``missing`` says that its file is just not there.

    ``code`` is that of a file that is wrong in itself (GGUFError, ImatrixError, FetchError), empty elsewhere.
    """

    def __init__(self, argument: str, text: str, missing: bool = False, code: str = "") -> None:
        super().__init__(text)
        self.argument = argument
        self.missing = missing
        self.code = code


class Plan(NamedTuple):
    """All that is known of a model before it is made."""

    recipe: Recipe
    source: Header
    imatrix: Imatrix | None
    prediction: Prediction
    facts: dict[str, Any]


def read_gguf(path: Path) -> Header:
    """The header of the GGUF file at ``path``, all parts of it. Raises GGUFError and OSError."""
    return open_source(str(path)).header


def named(source: Path | str) -> str:
    """The source as a message may name it: of a URL without what may be secret."""
    return shown(str(source)) if is_url(str(source)) else str(source)


def make_plan(
    source: Path | str, recipe_data: Any, imatrix: Path | str | None, token: str | None = None, hub: str = HUB
) -> Plan:
    """Read source and importance matrix (header and structure only) and predict the result. Raises PlanError.

    Both may be URLs. An importance matrix that is one is not read; until it is here, the name of its data set, and so
    some hundred bytes of the result's size, are not known.
    """
    try:
        recipe = load_recipe(recipe_data)
    except RecipeError as error:
        raise PlanError("recipe", str(error)) from None
    header = _open(source, token, hub).header
    matrix = _read_matrix(imatrix, recipe)
    try:
        prediction = predict(recipe, header, matrix, Path(imatrix).name if imatrix else "")
        hparams = hyperparameters(header)
    except RecipeError as error:
        raise PlanError("recipe", f"with {named(source)}: {error}") from None
    except GGUFError as error:
        raise PlanError("source", f"{named(source)}: {error}") from None
    return Plan(recipe, header, matrix, prediction, plan_facts(header.architecture, hparams, prediction))


def make_plans(
    source: str, recipes: dict[str, Any], file_types: list[str], imatrix: str, token: str | None = None, hub: str = HUB
) -> tuple[Source, dict[str, dict[str, Any]]]:
    """Read the header of ``source`` once, and say for each recipe and file type what it would make of it.

    A recipe that cannot be used has a ``problem`` instead of a plan. The importance matrix may be missing: its lines in
    the result's header are then not counted, and the plan is not ``exact``. Raises PlanError where the source is wrong.
    """
    opened = _open(source, token, hub)
    header = opened.header
    try:
        hparams = hyperparameters(header)
    except GGUFError as error:
        raise PlanError("source", f"{named(source)}: {error}") from None
    matrix: Imatrix | None = Imatrix(1, 1, "") if imatrix else None
    known = not imatrix
    if imatrix and not is_url(imatrix):
        try:
            with Path(imatrix).open("rb") as file:
                matrix, known = read_imatrix(file, Path(imatrix).stat().st_size), True
        except FileNotFoundError:
            pass
        except (OSError, ImatrixError) as error:
            raise PlanError("imatrix", f"{imatrix}: {error}") from None
    plans: dict[str, dict[str, Any]] = {}
    asked = [("recipe", name, data) for name, data in recipes.items()]
    asked += [("file type", name, None) for name in file_types]
    for kind, name, data in asked:
        try:
            recipe = load_recipe(data) if kind == "recipe" else plain(name, header.architecture)
            prediction = predict(recipe, header, matrix, Path(imatrix).name)
        except RecipeError as error:
            plans[name] = {"kind": kind, "problem": str(error), "place": error.place}
        else:
            plans[name] = {"kind": kind, "exact": known, **plan_facts(header.architecture, hparams, prediction)}
    return opened, plans


def _open(source: Path | str, token: str | None, hub: str) -> Source:
    try:
        return open_source(str(source), token, hub)
    except FileNotFoundError as error:
        raise PlanError(
            "source", f"{error.filename} is not there; put the model's GGUF file (F16, BF16 or Q8_0) there", True
        ) from None
    except (OSError, GGUFError) as error:
        raise PlanError("source", f"{named(source)}: {error}") from None


def plan_facts(architecture: str, hparams: dict[str, int], prediction: Prediction) -> dict[str, Any]:
    """What modules return of a prediction.

    ``least_bits`` is the least that a quantized tensor has which every token reads, ``rounded_on_arm`` are the names
    (without the layer) of tensors in a type that old engines round on aarch64.
    """
    tensors = prediction.tensors
    always = [
        tensor
        for tensor in tensors
        if quantizable(tensor) and "_exps." not in tensor.name and tensor.name != "token_embd.weight"
    ]
    return {
        "architecture": architecture,
        "hparams": hparams,
        "tensor_bytes": prediction.tensor_bytes,
        "file_bytes": prediction.file_bytes,
        "types": {tensor.name: tensor.type for tensor in tensors},
        "groups": groups(tensors),
        "bytes_per_token": bytes_per_token(tensors, hparams),
        "least_bits": round(min(map(bits, always), default=0.0), 2),
        "rounded_on_arm": list(groups(tuple(tensor for tensor in tensors if tensor.type in ROUNDED_ON_ARM))),
        "warnings": list(prediction.warnings),
    }


def _read_matrix(location: Path | str | None, recipe: Recipe) -> Imatrix | None:
    if location is None:
        if recipe.requires_imatrix:
            raise PlanError("imatrix", "the recipe requires an importance matrix, and none is named")
        return None
    if is_url(str(location)):
        return Imatrix(1, 1, "")
    path = Path(location)
    try:
        with path.open("rb") as file:
            return read_imatrix(file, path.stat().st_size)
    except FileNotFoundError:
        raise PlanError("imatrix", f"{path} is not there; put the model's importance matrix there", True) from None
    except (OSError, ImatrixError) as error:
        raise PlanError("imatrix", f"{path}: {error}", code=getattr(error, "code", "")) from None


def table(sums: dict[str, dict[str, dict[str, int]]]) -> str:
    """``groups`` as text, a line for each name and type, for people."""
    return "".join(
        f"{name:<40} {kind:<8} {row['tensors']:>4} tensors {row['bytes'] / (1 << 20):>10.2f} MiB\n"
        for name, kinds in sums.items()
        for kind, row in kinds.items()
    )


def check_room(folder: Path, need: int) -> None:
    """Raises PlanError where ``need`` bytes do not fit where ``folder`` is, or will be; unfinished models give way."""
    where = folder
    while not where.exists() and where != where.parent:
        where = where.parent
    disk = os.statvfs(where)
    room = disk.f_bavail * disk.f_frsize + sum(part.stat().st_size for part in folder.glob("*.gguf.part"))
    if need > room:
        raise PlanError(
            "root",
            f"{folder} has {room >> 20} MiB free, the model needs {need >> 20} MiB; "
            "remove what is not needed there, or name a folder on a larger disk",
        )
