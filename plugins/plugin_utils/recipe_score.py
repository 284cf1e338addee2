"""Find the sensitivities of a model, and add what they say to forecasts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.score import (
    ScoreError,
    estimate,
    load_sensitivities,
    score,
)
from ansible_collections.ik_llama.pi.plugins.plugin_utils.quantize_checks import recipe_file, shipped_recipes


def sensitivity_data(name: str, model: str, folder: str) -> dict[str, Any] | None:
    """Return the checked data of sensitivities, None where none are known of the model.

    Args:
        name: a file of `folder` without its ending, or a path with a slash; empty for the file named like the model.
        model: the model's name, as the user or the header of its file writes it.
        folder: of the sensitivities that come with role gguf_quantize.

    Raises:
        ValueError: where a file that was asked for does not exist, or a file is wrong.
    """
    path = recipe_file(name or re.sub("[ _]+", "-", model.strip().lower()), folder)
    if not path.is_file():
        if not name:
            return None
        raise ValueError(
            f"the sensitivities do not exist (gguf_quantize_sensitivities = {name!r}). Set it to one of"
            f" {', '.join(shipped_recipes(folder))}, or to the path of a file with a slash."
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        load_sensitivities(data)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error} (gguf_quantize_sensitivities = {name!r}).") from None
    return dict(data)


def with_estimates(
    forecasts: Mapping[str, Mapping[str, Any]], name: str, model: str, folder: str
) -> dict[str, dict[str, Any]]:
    """Return forecasts, each that can be used with ``estimate`` (see module_utils/gguf/score.py) or ``no_estimate``.

    ``no_estimate`` is a sentence that says why there is none. Arguments and errors are those of `sensitivity_data`.
    """
    data = sensitivity_data(name, model, folder)
    found = {key: dict(forecast) for key, forecast in forecasts.items()}
    for forecast in found.values():
        if "problem" in forecast:
            continue
        if data is None:
            forecast["no_estimate"] = (
                f"no sensitivities are known of {model or 'a model without a name'}. Set gguf_quantize_sensitivities to"
                f" one of {', '.join(shipped_recipes(folder))} if the model is one of them, or to the path of your own"
            )
            continue
        sensitivities = load_sensitivities(data)
        try:
            total = score(forecast["types"], forecast["architecture"], sensitivities)
        except ScoreError as error:
            forecast["no_estimate"] = str(error)
        else:
            forecast["estimate"] = estimate(total, sensitivities)
    return found
