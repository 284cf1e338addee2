"""What quantizing a source by a recipe will give: read from files on this host, before anything is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.footprint import hyperparameters
from ansible.module_utils.gguf import GGUFError, Header
from ansible.module_utils.gguf_source import HUB, is_url, open_source
from ansible.module_utils.imatrix import Imatrix, ImatrixError, read_imatrix
from ansible.module_utils.recipe import Prediction, Recipe, RecipeError, groups, load_recipe, predict


class PlanError(ValueError):
    """There is no plan; ``argument`` names what is wrong, ``missing`` says that its file is just not there."""

    def __init__(self, argument: str, text: str, missing: bool = False) -> None:
        super().__init__(text)
        self.argument = argument
        self.missing = missing


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
    try:
        header = open_source(str(source), token, hub).header
    except FileNotFoundError as error:
        raise PlanError(
            "source", f"{error.filename} is not there; put the model's GGUF file (F16, BF16 or Q8_0) there", True
        ) from None
    except (OSError, GGUFError) as error:
        raise PlanError("source", f"{source}: {error}") from None
    matrix = _read_matrix(imatrix, recipe)
    try:
        prediction = predict(recipe, header, matrix, Path(imatrix).name if imatrix else "")
        hparams = hyperparameters(header)
    except RecipeError as error:
        raise PlanError("recipe", f"with {source}: {error}") from None
    except GGUFError as error:
        raise PlanError("source", f"{source}: {error}") from None
    facts = {
        "architecture": header.architecture,
        "hparams": hparams,
        "tensor_bytes": prediction.tensor_bytes,
        "file_bytes": prediction.file_bytes,
        "types": {tensor.name: tensor.type for tensor in prediction.tensors},
        "groups": groups(prediction.tensors),
    }
    return Plan(recipe, header, matrix, prediction, facts)


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
        raise PlanError("imatrix", f"{path}: {error}") from None


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
