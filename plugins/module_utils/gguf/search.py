"""Find a recipe for a source and a board: limits of memory and speed, and the trade-off between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import (
    MIB,
    bytes_for_speed,
    hyperparameters,
    room_for_weights,
    tokens_per_second,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.score import (
    ScoreError,
    Sensitivities,
    by_bits_alone,
    check_architecture,
    estimate,
    load_sensitivities,
    missing_tensors,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.solver import (
    Assignment,
    Limits,
    Problem,
    SolverError,
    curve,
    load_restrictions,
    make_problem,
    recipe_of,
    rules_of,
    solve_readably,
)

#: Where there is no limit.
UNLIMITED = 1 << 62
_SIZES = 7  # points of each line of the trade-off
_READS = (0.85, 1.0, 1.15)  # lines of it, as parts of the bytes that a token may read


class SearchError(ValueError):
    """No recipe was found; ``argument`` names what to change."""

    def __init__(self, argument: str, text: str) -> None:
        super().__init__(text)
        self.argument = argument


@dataclass(frozen=True)
class Wanted:
    """What a recipe is to keep to; 0 is no limit.

    Args:
        board: ``memory_mib``, ``reserve_mib``, ``bandwidth_gbs``, ``context`` and memory options of the server.
        tokens_per_second: at least, by bandwidth and with an empty context.
        tensor_bytes: at most, besides what the memory takes.
        by_bits: solve without sensitivities.
    """

    board: Mapping[str, Any]
    tokens_per_second: float = 0.0
    tensor_bytes: int = 0
    by_bits: bool = False
    restrictions: Sequence[Any] = field(default_factory=list)


def _sensitivities(header: Header, data: Mapping[str, Any], by_bits: bool) -> Sensitivities:
    if by_bits:
        return by_bits_alone(list(header.tensors), header.architecture)
    ask = "Give your own, or ask for a recipe by bits alone."
    if not data:
        raise SearchError("sensitivities", f"no sensitivities are known of this model. {ask}")
    try:
        found = load_sensitivities(data)
        check_architecture(found, header.architecture)
    except ScoreError as error:
        raise SearchError("sensitivities", f"{error}. {ask}") from None
    missing = missing_tensors({tensor.name: tensor.type for tensor in header.tensors}, found)
    if missing:
        raise SearchError(
            "sensitivities", f"{found.model} has {len(missing)} tensors that the source lacks, like {missing[0]}. {ask}"
        )
    return found


def _limits(hparams: Mapping[str, int], wanted: Wanted) -> Limits:
    board = wanted.board
    room = (int(board["memory_mib"]) - int(board["reserve_mib"])) * MIB
    size = room_for_weights(hparams, board, room)
    if wanted.tensor_bytes:
        size = min(size, wanted.tensor_bytes)
    read = UNLIMITED
    if wanted.tokens_per_second:
        read = bytes_for_speed(wanted.tokens_per_second, hparams, float(board["bandwidth_gbs"]) * 1e9)
    return Limits(size, read)


def _refused(error: SolverError, hparams: Mapping[str, int], wanted: Wanted) -> SearchError:
    """Return the error in the words of what was asked for."""
    if error.limit == "bytes_per_token":
        fastest = tokens_per_second(error.least, hparams, float(wanted.board["bandwidth_gbs"]) * 1e9)
        return SearchError(
            "tokens_per_second",
            f"no recipe is so fast: {error}. At {wanted.board['bandwidth_gbs']} GB/s the fastest gives {fastest:.2f}"
            " tokens/s",
        )
    if error.limit == "tensor_bytes":
        over = wanted.tensor_bytes and wanted.tensor_bytes < error.least
        return SearchError(
            "tensor_bytes" if over else "memory_mib",
            f"no recipe is so small: {error}"
            + ("" if over else f", at a context of {wanted.board['context']} and {wanted.board['memory_mib']} MiB"),
        )
    return SearchError("restrictions", str(error))


def find_recipe(header: Header, data: Mapping[str, Any], wanted: Wanted, title: str, origin: str) -> dict[str, Any]:
    """Return the recipe with the least score for a source. Raises SearchError.

    Returns:
        ``recipe`` (data as of its file), ``found`` (``tensor_bytes``, ``bytes_per_token``, ``tokens_per_second``,
        ``rules``, ``limits``; ``bound``, ``free_score`` and ``loss``: the least score of any assignment of types, the
        best one that was found by tensor, and how much worse than the bound it is; ``estimate``: see score.py),
        ``curve`` (see solver.py) and ``left_out`` (type to reason).
    """
    hparams = hyperparameters(header)
    sensitivities = _sensitivities(header, data, wanted.by_bits)
    limits = _limits(hparams, wanted)
    try:
        problem = make_problem(header.tensors, hparams, sensitivities, load_restrictions(wanted.restrictions))
        readable, free = solve_readably(problem, limits)
    except SolverError as error:
        raise _refused(error, hparams, wanted) from None
    bandwidth = float(wanted.board["bandwidth_gbs"]) * 1e9
    return {
        "recipe": recipe_of(problem, readable, title, origin, header.architecture),
        "found": {
            "tensor_bytes": readable.tensor_bytes,
            "bytes_per_token": readable.bytes_per_token,
            "tokens_per_second": round(tokens_per_second(readable.bytes_per_token, hparams, bandwidth), 2),
            "rules": rules_of(readable.choice),
            "bound": round(free.bound, 4),
            "free_score": round(free.score, 4),
            "loss": round(readable.score / free.bound - 1, 4) if free.bound else 0.0,
            "limits": {"tensor_bytes": limits.tensor_bytes, "bytes_per_token": limits.bytes_per_token % UNLIMITED},
            "by_bits": wanted.by_bits,
            "estimate": estimate(readable.score, sensitivities),
        },
        "curve": _trade_off(problem, readable, limits),
        "left_out": problem.left_out,
    }


def _trade_off(problem: Problem, found: Assignment, limits: Limits) -> list[dict[str, Any]]:
    """Return the best scores for sizes around the one found, at the speed asked for and at others near it."""
    least = problem.fixed_bytes + sum(sizes[0] for group in problem.groups for sizes in group.sizes)
    low, high = max(least, found.tensor_bytes * 3 // 4), found.tensor_bytes * 5 // 4
    sizes = [low + (high - low) * step // (_SIZES - 1) for step in range(_SIZES)]
    limited = limits.bytes_per_token < UNLIMITED
    return curve(problem, sizes, [int(limits.bytes_per_token * part) for part in _READS] if limited else [UNLIMITED])
