"""What quantizing a source by a recipe will give: read from files on this host, before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import free_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.coverage import (
    CoverageError,
    check_matrix,
    check_without_matrix,
    experts_of,
    experts_warnings,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import (
    ROUNDED_ON_ARM,
    bits,
    bytes_per_token,
    hyperparameters,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError, Header, refusal
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import (
    Imatrix,
    ImatrixError,
    entries_without_data,
    experts_without_data,
    is_gguf,
    read_imatrix,
)
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


class ForecastError(ValueError):
    """There is no forecast; ``argument`` names the option to change, ``missing`` says that its file does not exist.

    ``code`` is that of a file that is wrong in itself (GGUFError, ImatrixError, FetchError), empty elsewhere.
    """

    def __init__(self, argument: str, text: str, missing: bool = False, code: str = "") -> None:
        super().__init__(text)
        self.argument = argument
        self.missing = missing
        self.code = code


class Forecast(NamedTuple):
    """All that is known of a model before it is made."""

    recipe: Recipe
    source: Header
    imatrix: Imatrix | None
    prediction: Prediction
    facts: dict[str, Any]


def read_gguf(path: Path) -> Header:
    """Return the header of the GGUF file at ``path``, all parts of it. Raises GGUFError and OSError."""
    return open_source(str(path)).header


def expanded(location: str) -> str:
    """Return a path with ``~`` replaced, a URL as it is, empty for empty."""
    return str(Path(location).expanduser()) if location and not is_url(location) else location


def named(source: Path | str) -> str:
    """Return the source as a message may name it: a URL without what may be secret."""
    return shown(str(source)) if is_url(str(source)) else str(source)


def make_forecast(
    source: Path | str, recipe_data: Any, imatrix: Path | str | None, token: str | None = None, hub: str = HUB
) -> Forecast:
    """Read source and importance matrix (header and structure only) and predict the result. Raises ForecastError.

    Both may be URLs. An importance matrix that is one is not read; until it is downloaded, the name of its data set,
    and so some hundred bytes of the result's size, are not known.
    """
    try:
        recipe = load_recipe(recipe_data)
    except RecipeError as error:
        raise ForecastError("recipe", str(error)) from None
    header = _open(source, token, hub).header
    matrix = _read_matrix(imatrix, recipe)
    try:
        prediction = predict(recipe, header, matrix, Path(imatrix).name if imatrix else "")
        hparams = hyperparameters(header)
    except RecipeError as error:
        raise ForecastError("recipe", f"with {named(source)}: {error}") from None
    except GGUFError as error:
        raise ForecastError("source", f"{named(source)}: {error}", code=error.code) from None
    return Forecast(recipe, header, matrix, prediction, forecast_facts(header.architecture, hparams, prediction))


def make_forecasts(
    source: str,
    recipes: Mapping[str, Any],
    file_types: list[str],
    imatrix: str,
    token: str | None = None,
    hub: str = HUB,
) -> tuple[Source, dict[str, dict[str, Any]]]:
    """Read the header of ``source`` once, and predict for each recipe and file type what it would make of it.

    A recipe that cannot be used has a ``problem`` instead of a forecast. The importance matrix may be missing: its
    lines in the result's header are then not counted, and the forecast is not ``exact``. Raises ForecastError where
    the source is wrong.
    """
    opened = _open(source, token, hub)
    header = opened.header
    try:
        hparams = hyperparameters(header)
    except GGUFError as error:
        raise ForecastError("source", f"{named(source)}: {error}", code=error.code) from None
    matrix: Imatrix | None = Imatrix(1, 1, "") if imatrix else None
    known = not imatrix
    if imatrix and not is_url(imatrix):
        try:
            with Path(imatrix).open("rb") as file:
                matrix, known = read_imatrix(file, Path(imatrix).stat().st_size), True
        except FileNotFoundError:
            pass
        except (OSError, ImatrixError) as error:
            raise ForecastError("imatrix", f"{imatrix}: {error}", code=getattr(error, "code", "")) from None
    forecasts: dict[str, dict[str, Any]] = {}
    wanted = [("recipe", name, data) for name, data in recipes.items()]
    wanted += [("file type", name, None) for name in file_types]
    for kind, name, data in wanted:
        try:
            recipe = load_recipe(data) if kind == "recipe" else plain(name, header.architecture)
            prediction = predict(recipe, header, matrix, Path(imatrix).name)
            warnings = _coverage(recipe, header, prediction, matrix)
        except RecipeError as error:
            forecasts[name] = {"kind": kind, "problem": str(error), "place": error.place}
        except CoverageError as error:
            forecasts[name] = {"kind": kind, "problem": str(error), "place": "requires_imatrix"}
        else:
            facts = forecast_facts(header.architecture, hparams, prediction)
            facts["warnings"] += warnings
            forecasts[name] = {"kind": kind, "exact": known, **facts}
    return opened, forecasts


def _coverage(recipe: Recipe, source: Header, prediction: Prediction, matrix: Imatrix | None) -> list[str]:
    """Return warnings about the matrix, which may be none. Raises CoverageError."""
    if matrix is None:
        check_without_matrix(recipe, source, prediction)
        return []
    return check_matrix(recipe, source, prediction, matrix)


def matrix_warnings(forecast: Forecast, path: Path | None) -> list[str]:
    """Read the importance matrix at ``path`` whole, compare it with the model, and return warnings.

    An entry that holds nothing but zeros counts as none. ``path`` is None where there is no matrix, or where it is not
    on this host yet. Raises ForecastError where the matrix is damaged, or does not belong to the source, or lacks what
    the recipe or the engine insist on.
    """
    matrix = forecast.imatrix
    idle: dict[str, int] = {}
    try:
        if path and matrix and matrix.lengths is not None:
            with path.open("rb") as file:
                size = path.stat().st_size
                empty = entries_without_data(file, size)
                if not is_gguf(file):
                    idle = experts_without_data(file, size, experts_of(forecast.source))
            idle = {name: count for name, count in idle.items() if name not in empty}
            lengths = {name: values for name, values in matrix.lengths.items() if name not in empty}
            matrix = matrix._replace(lengths=lengths)
        warnings = _coverage(forecast.recipe, forecast.source, forecast.prediction, matrix)
        return warnings + experts_warnings(forecast.source, idle)
    except (OSError, ImatrixError, CoverageError) as error:
        where = f"{path}: " if path else ""
        raise ForecastError("imatrix", f"{where}{error}", code=getattr(error, "code", "")) from None


def open_header(source: str, token: str | None = None, hub: str = HUB) -> Header:
    """Return the header of a source, a path or a URL. Raises ForecastError."""
    return _open(source, token, hub).header


def _open(source: Path | str, token: str | None, hub: str) -> Source:
    try:
        opened = open_source(str(source), token, hub)
        if reason := refusal(opened.header):
            raise GGUFError(*reason)
        return opened
    except FileNotFoundError as error:
        raise ForecastError(
            "source", f"{error.filename} does not exist. Copy the model's GGUF file (F16, BF16 or Q8_0) there.", True
        ) from None
    except (OSError, GGUFError) as error:
        raise ForecastError("source", f"{named(source)}: {error}", code=getattr(error, "code", "")) from None


def forecast_facts(architecture: str, hparams: dict[str, int], prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as modules do.

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
    if not location:
        if recipe.requires_imatrix:
            raise ForecastError("imatrix", "empty, and the recipe requires an importance matrix")
        return None
    if is_url(str(location)):
        return Imatrix(1, 1, "")
    path = Path(location)
    try:
        with path.open("rb") as file:
            return read_imatrix(file, path.stat().st_size)
    except FileNotFoundError:
        text = f"{path} does not exist. Copy the model's importance matrix there."
        raise ForecastError("imatrix", text, True) from None
    except (OSError, ImatrixError) as error:
        raise ForecastError("imatrix", f"{path}: {error}", code=getattr(error, "code", "")) from None


def table(sums: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """Return ``groups`` as text, a line for each name and type."""
    return "".join(
        f"{name:<40} {kind:<8} {row['tensors']:>4} tensors {row['bytes'] / (1 << 20):>10.2f} MiB\n"
        for name, kinds in sums.items()
        for kind, row in kinds.items()
    )


def check_free_space(folder: Path, need: int) -> None:
    """Raise ForecastError where ``need`` bytes do not fit where ``folder`` is, or will be.

    Unfinished models in it are removed before a new one is made, so that their bytes count as free.
    """
    free = free_bytes(folder) + sum(part.stat().st_size for part in folder.glob("*.gguf.part"))
    if need > free:
        raise ForecastError(
            "root",
            f"{folder} has {free >> 20} MiB free, {need >> 20} MiB required. Remove files that are not needed, or "
            "choose a folder on a larger disk.",
            code="room",
        )
