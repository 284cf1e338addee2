"""Find the recipe with the least score within bytes of memory and bytes read for a token.

The score is a sum over tensors, and so are both limits. With a price on each byte of memory and one on each byte read
(Lagrange multipliers) every tensor can be decided alone. Two searches, one within the other, find the prices at which
the limits are met. The same prices give a bound that no assignment of types whatever can beat.

A recipe that a person can read has few rules. Its tensors are decided by kind and by ranges of layers: a change of type
from one layer to the next has a price as well (dynamic programming over the layers of each kind), and what is left of
the limits is then used by changing single ranges and shifting their ends.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.coverage import POOR_WITHOUT_ENTRY
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import read_share
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import TYPES, Tensor, tensor_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import TARGETS, quantizable
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.score import EXACT, Sensitivities

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
# Tensors that get one type: the engine computes gate and up in one step where their types agree, and some sources have
# them in one tensor; alpha and beta are tiny; of layers that predict further tokens nothing was measured.
_TOGETHER = (
    r"ffn_(gate|up|gate_up)_exps\.weight",
    r"ffn_(gate|up)_shexp\.weight",
    r"ssm_(alpha|beta)\.weight",
    r"attn_output\.weight|nextn\.",
)
# Kinds of tensors of which nothing was measured get at least so many bits.
_UNMEASURED_BITS = 4.0
#: How much worse than the bound the score of a readable recipe may be, relative.
READABLE_LOSS = 0.04
# Prices of a change of type, as parts of the bound, the dearest first.
_CHANGES = (0.02, 0.01, 0.006, 0.004, 0.002, 0.001, 0.0005)
_STEPS = 18  # of each search for a price: to 0.01 %
_DEAREST, _CHEAPEST = 1e-5, 1e-17  # score for a byte


class SolverError(ValueError):
    """No recipe keeps to a ``limit`` (``tensor_bytes`` or ``bytes_per_token``); ``least`` is what is possible."""

    def __init__(self, text: str, limit: str = "", least: int = 0) -> None:
        super().__init__(text)
        self.limit = limit
        self.least = least


@dataclass(frozen=True)
class Limits:
    """At most so many bytes of tensors, and at most so many read for a token."""

    tensor_bytes: int
    bytes_per_token: int


@dataclass(frozen=True)
class Group:
    """Tensors of one kind, layer by layer, with the types that they can have.

    ``layers``: their numbers; one entry, -1, for what has no layer. ``weights``: sensitivity of each layer. ``kinds``:
    types from the smallest to the best, each the best for a range of prices. ``costs``: of each kind, relative.
    ``sizes``: bytes of each layer in each kind. ``shares``: the part of each layer that a token reads.
    """

    pattern: str
    layers: tuple[int, ...]
    weights: tuple[float, ...]
    kinds: tuple[str, ...]
    costs: tuple[float, ...]
    sizes: tuple[tuple[int, ...], ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """All that is to be decided, and the bytes of what is not. ``left_out``: types and why they are not used."""

    groups: tuple[Group, ...]
    fixed_bytes: int
    fixed_read: float
    left_out: dict[str, str]


@dataclass(frozen=True)
class Assignment:
    """A kind (its index) for each layer of each group, with its sums. ``bound``: no assignment has a smaller score."""

    choice: tuple[tuple[int, ...], ...]
    score: float
    tensor_bytes: int
    bytes_per_token: int
    bound: float = 0.0


def load_restrictions(data: Any) -> dict[str, str]:
    """Return types that are left out, each with its reason. Raises SolverError where the data is wrong.

    ``data``: a list of mappings with ``types``, ``reason`` and ``source``, as in files/restrictions of gguf_quantize.
    """
    if not isinstance(data, list):
        raise SolverError("the restrictions are not a list")
    found: dict[str, str] = {}
    for index, item in enumerate(data):
        place = f"restrictions[{index}]"
        if not isinstance(item, Mapping) or set(item) != {"types", "reason", "source"}:
            raise SolverError(f"{place} is not a mapping of 'types', 'reason' and 'source'")
        if not isinstance(item["types"], list):
            raise SolverError(f"{place}: 'types' is not a list")
        for kind in item["types"]:
            if kind not in TYPES:
                raise SolverError(f"{place} has the unknown type {kind!r}")
            found.setdefault(kind, str(item["reason"]))
    return found


def _pattern(name: str) -> str:
    """Return the pattern of a tensor's group, without its layer."""
    stem = re.sub(r"^blk\.\d+\.", "", name)
    return next((pattern for pattern in _TOGETHER if re.match(pattern, stem)), re.escape(stem))


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _hull(points: Sequence[tuple[int, float, str]]) -> list[tuple[int, float, str]]:
    """Return the (bytes, cost, type) that are best for some price: the lower convex hull, from the smallest."""
    hull: list[tuple[int, float, str]] = []
    for point in sorted(points):
        if hull and point[1] >= hull[-1][1]:
            continue
        while len(hull) > 1 and (hull[-2][1] - hull[-1][1]) * (point[0] - hull[-1][0]) <= (hull[-1][1] - point[1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append(point)
    return hull


def make_problem(
    tensors: Iterable[Tensor], hparams: Mapping[str, int], sensitivities: Sensitivities, restrictions: Mapping[str, str]
) -> Problem:
    """Return what is to be decided for a source's ``tensors``. Raises SolverError where no type is left.

    What was not measured in a measured kind of tensor counts like the least sensitive one; other kinds that were not
    measured get the smallest type of at least four bits.
    """
    every = list(tensors)
    tied = all(tensor.name != OUTPUT for tensor in every)
    usable = [
        kind for kind in sensitivities.types if kind in TARGETS and kind not in EXACT and kind not in restrictions
    ]
    if not usable:
        raise SolverError("the restrictions leave no type that was measured")
    fixed_bytes, fixed_read = 0, 0.0
    members: dict[str, dict[int, list[Tensor]]] = {}
    for tensor in every:
        if quantizable(tensor):
            members.setdefault(_pattern(tensor.name), {}).setdefault(_layer(tensor.name), []).append(tensor)
        else:
            size = tensor_bytes(tensor.type, tensor.shape)
            fixed_bytes += size
            fixed_read += size * read_share(tensor.name, hparams, tied)
    groups = []
    for pattern, by_layer in members.items():
        groups.append(_group(pattern, by_layer, usable, hparams, sensitivities, tied))
    return Problem(tuple(groups), fixed_bytes, fixed_read, dict(restrictions))


def _group(
    pattern: str,
    by_layer: Mapping[int, list[Tensor]],
    usable: Sequence[str],
    hparams: Mapping[str, int],
    sensitivities: Sensitivities,
    tied: bool,
) -> Group:
    layers = sorted(by_layer)
    first = by_layer[layers[0]]
    possible = [kind for kind in usable if all(tensor.shape[0] % TYPES[kind].block == 0 for tensor in first)]
    if first[0].name in (EMBEDDING, OUTPUT):
        # llama-imatrix computes no entries for these two.
        possible = [kind for kind in possible if kind not in POOR_WITHOUT_ENTRY] or possible
    if not possible:
        raise SolverError(f"no type that was measured and is not restricted can hold {first[0].name}")
    points = [
        (sum(tensor_bytes(kind, tensor.shape) for tensor in first), sensitivities.cost(kind), kind) for kind in possible
    ]
    measured: dict[int, float] = {}
    for layer in layers:
        values = [sensitivities.of(tensor.name) for tensor in by_layer[layer]]
        if None not in values:
            measured[layer] = sum(value for value in values if value is not None)
    if measured:
        hull = _hull(points)
    else:
        elements = sum(tensor.elements for tensor in first)
        hull = [min([point for point in points if point[0] * 8 >= _UNMEASURED_BITS * elements] or [max(points)])]
    least = min(measured.values(), default=0.0)
    return Group(
        pattern,
        tuple(layers),
        tuple(measured.get(layer, least) for layer in layers),
        tuple(kind for _size, _cost, kind in hull),
        tuple(cost for _size, cost, _kind in hull),
        tuple(
            tuple(sum(tensor_bytes(kind, tensor.shape) for tensor in by_layer[layer]) for _size, _cost, kind in hull)
            for layer in layers
        ),
        tuple(read_share(by_layer[layer][0].name, hparams, tied) for layer in layers),
    )


class _Pricing:
    """Chooses for given prices. Per layer: the prices (negative, ascending) from which a smaller kind is better."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.table = [
            [
                (
                    [
                        -weight * (group.costs[i] - group.costs[i + 1]) / (sizes[i + 1] - sizes[i])
                        for i in range(len(group.kinds) - 1)
                    ],
                    share,
                    sizes,
                )
                for weight, share, sizes in zip(group.weights, group.shares, group.sizes)
            ]
            for group in problem.groups
        ]

    def sizes(self, price: float, read_price: float) -> tuple[float, float]:
        """Return bytes of tensors and bytes read at these prices."""
        total, read = float(self.problem.fixed_bytes), self.problem.fixed_read
        for rows in self.table:
            for thresholds, share, sizes in rows:
                size = sizes[bisect_left(thresholds, -(price + read_price * share))]
                total += size
                read += size * share
        return total, read

    def choice(self, price: float, read_price: float) -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(bisect_left(thresholds, -(price + read_price * share)) for thresholds, share, _sizes in rows)
            for rows in self.table
        )


def _least(meets: Callable[[float], bool]) -> float:
    """Return the smallest price that meets a limit, within the precision of the search; 0 where none is needed."""
    if meets(0.0):
        return 0.0
    low, high = _CHEAPEST, _DEAREST
    for _step in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high


def assign(problem: Problem, choice: tuple[tuple[int, ...], ...], bound: float = 0.0) -> Assignment:
    """Return a choice with its sums."""
    score, size, read = 0.0, problem.fixed_bytes, problem.fixed_read
    for group, picks in zip(problem.groups, choice):
        for pick, weight, share, sizes in zip(picks, group.weights, group.shares, group.sizes):
            score += weight * group.costs[pick]
            size += sizes[pick]
            read += sizes[pick] * share
    return Assignment(choice, score, size, round(read), bound)


def check_limits(problem: Problem, limits: Limits) -> None:
    """Raise SolverError where even the smallest types are too large."""
    least = assign(problem, tuple((0,) * len(group.layers) for group in problem.groups))
    if least.tensor_bytes > limits.tensor_bytes:
        raise SolverError(
            f"the smallest types make {least.tensor_bytes:,} bytes of tensors, and there is room for"
            f" {max(limits.tensor_bytes, 0):,}",
            "tensor_bytes",
            least.tensor_bytes,
        )
    if least.bytes_per_token > limits.bytes_per_token:
        raise SolverError(
            f"with the smallest types a token reads {least.bytes_per_token:,} bytes, and it may read"
            f" {max(limits.bytes_per_token, 0):,}",
            "bytes_per_token",
            least.bytes_per_token,
        )


def solve_freely(problem: Problem, limits: Limits) -> tuple[Assignment, float, float]:
    """Return the best assignment of a type to each single tensor, and the prices that give it. Raises SolverError."""
    check_limits(problem, limits)
    pricing = _Pricing(problem)

    def read_price(price: float) -> float:
        return _least(lambda value: pricing.sizes(price, value)[1] <= limits.bytes_per_token)

    price = _least(lambda value: pricing.sizes(value, read_price(value))[0] <= limits.tensor_bytes)
    reading = read_price(price)
    found = assign(problem, pricing.choice(price, reading))
    over = price * (found.tensor_bytes - limits.tensor_bytes) + reading * (
        found.bytes_per_token - limits.bytes_per_token
    )
    return assign(problem, found.choice, found.score + over), price, reading


def _ranges(group: Group, price: float, read_price: float, change: float) -> tuple[int, ...]:
    """Return the cheapest kinds by layer where each change of kind from layer to layer has a price."""
    kinds = range(len(group.kinds))
    back: list[list[int]] = []
    costs = [0.0 for _kind in kinds]
    for weight, share, sizes in zip(group.weights, group.shares, group.sizes):
        cheapest = min(kinds, key=costs.__getitem__)
        before = [kind if costs[kind] <= costs[cheapest] + change else cheapest for kind in kinds]
        byte = price + read_price * share
        costs = [
            costs[before[kind]]
            + (change if before[kind] != kind and back else 0.0)
            + weight * group.costs[kind]
            + byte * sizes[kind]
            for kind in kinds
        ]
        back.append(before)
    kind = min(kinds, key=costs.__getitem__)
    found = []
    for before in reversed(back):
        found.append(kind)
        kind = before[kind]
    return tuple(reversed(found))


def rules_of(choice: Iterable[Sequence[int]]) -> int:
    """Return how many rules a choice needs: one for each type of each group."""
    return sum(len(set(picks)) for picks in choice)


@dataclass(frozen=True)
class _Move:
    """Another choice for one group, and what it changes."""

    group: int
    picks: tuple[int, ...]
    score: float
    size: int
    read: float


def _runs(picks: Sequence[int]) -> list[tuple[int, int]]:
    """Return start and end of each range of layers of one kind."""
    starts = [index for index in range(len(picks)) if not index or picks[index] != picks[index - 1]]
    return list(zip(starts, [*starts[1:], len(picks)]))


def _changed(picks: Sequence[int], group: Group) -> Iterator[tuple[int, ...]]:
    """Yield choices that differ in one range: another kind for it, or its end shifted by a layer."""
    for start, end in _runs(picks):
        for kind in range(len(group.kinds)):
            if kind != picks[start]:
                yield (*picks[:start], *([kind] * (end - start)), *picks[end:])
        if start:
            yield (*picks[:start], picks[start - 1], *picks[start + 1 :])
            yield (*picks[: start - 1], picks[start], *picks[start:])


def _moves(problem: Problem, choice: Sequence[tuple[int, ...]]) -> list[_Move]:
    found = []
    for index, (group, picks) in enumerate(zip(problem.groups, choice)):
        for other in _changed(picks, group):
            if len(set(other)) > len(set(picks)):
                continue
            score, size, read = 0.0, 0, 0.0
            for old, new, weight, share, sizes in zip(picks, other, group.weights, group.shares, group.sizes):
                if old != new:
                    score += weight * (group.costs[new] - group.costs[old])
                    more = sizes[new] - sizes[old]
                    size += more
                    read += more * share
            found.append(_Move(index, other, score, size, read))
    return found


def _excess(size: float, read: float, limits: Limits) -> float:
    """Return by how much limits are exceeded, as parts of them."""
    return max(size / limits.tensor_bytes - 1, 0.0) + max(read / limits.bytes_per_token - 1, 0.0)


def _applied(choice: Sequence[tuple[int, ...]], *moves: _Move) -> tuple[tuple[int, ...], ...]:
    found = list(choice)
    for move in moves:
        found[move.group] = move.picks
    return tuple(found)


def _within(problem: Problem, choice: tuple[tuple[int, ...], ...], limits: Limits) -> Assignment | None:
    """Return the choice, changed until it keeps to the limits, by what costs least for what it saves."""
    while True:
        found = assign(problem, choice)
        excess = _excess(found.tensor_bytes, found.bytes_per_token, limits)
        if not excess:
            return found
        best, best_price = None, 0.0
        for move in _moves(problem, choice):
            saved = excess - _excess(found.tensor_bytes + move.size, found.bytes_per_token + move.read, limits)
            if saved > 0 and (best is None or move.score / saved < best_price):
                best, best_price = move, move.score / saved
        if best is None:
            return None
        choice = _applied(choice, best)


def _improved(problem: Problem, found: Assignment, limits: Limits) -> Assignment:
    """Return the assignment with what is left of the limits used, by single changes and by pairs of them."""
    while True:
        room = limits.tensor_bytes - found.tensor_bytes
        reading = limits.bytes_per_token - found.bytes_per_token - 1  # bytes are rounded
        moves = _moves(problem, found.choice)
        best: tuple[_Move, ...] = ()
        gain = -1e-9
        for move in moves:
            if move.score < gain and move.size <= room and move.read <= reading:
                best, gain = (move,), move.score
        if not best:
            better = sorted((move for move in moves if move.score < 0), key=lambda move: move.score)
            for worse in moves:
                if worse.score < 0:
                    continue
                for move in better:
                    if move.score + worse.score >= gain:
                        break
                    fits = move.size + worse.size <= room and move.read + worse.read <= reading
                    if fits and move.group != worse.group:
                        best, gain = (move, worse), move.score + worse.score
                        break
        if not best:
            return found
        found = assign(problem, _applied(found.choice, *best))


def solve_readably(problem: Problem, limits: Limits) -> tuple[Assignment, Assignment]:
    """Return the best assignment by few rules, and the best by tensor. Raises SolverError.

    The fewest rules whose score is within READABLE_LOSS of the bound; where none is, the least score.
    """
    free, price, reading = solve_freely(problem, limits)
    candidates = []
    for change in _CHANGES:
        choice = tuple(_ranges(group, price, reading, change * free.bound) for group in problem.groups)
        within = _within(problem, choice, limits)
        if within:
            candidates.append(_improved(problem, within, limits))
            if candidates[-1].score <= free.bound * (1 + READABLE_LOSS):
                break
    close = [found for found in candidates if found.score <= free.bound * (1 + READABLE_LOSS)]
    best = (
        min(close, key=lambda found: rules_of(found.choice))
        if close
        else min([*candidates, free], key=lambda found: found.score)
    )
    return assign(problem, best.choice, free.bound), free


def curve(problem: Problem, sizes: Iterable[int], reads: Iterable[int]) -> list[dict[str, Any]]:
    """Return the best assignment for each pair of limits that is possible: ``limit`` (bytes read), bytes and score."""
    found: list[dict[str, Any]] = []
    for read in reads:
        for size in sizes:
            try:
                best, _price, _reading = solve_freely(problem, Limits(size, read))
            except SolverError:
                continue
            point = {
                "limit": read,
                "tensor_bytes": best.tensor_bytes,
                "bytes_per_token": best.bytes_per_token,
                "score": round(best.score, 4),
            }
            if point not in found:
                found.append(point)
    return found


def number_range(first: int, last: int) -> str:
    """Return alternatives of a regular expression for a range of numbers, like ``[8-9]|1[0-5]``."""
    parts: list[tuple[str, str]] = []
    for ten in range(first // 10, last // 10 + 1):
        low, high = max(first - 10 * ten, 0), min(last - 10 * ten, 9)
        ones = str(low) if low == high else f"[{low}-{high}]"
        if parts and ones == "[0-9]" == parts[-1][1] and parts[-1][0] and ten < 10:
            start = parts.pop()[0].strip("[]").split("-")[0]
            parts.append((f"[{start}-{ten}]", ones))
        else:
            parts.append((str(ten) if ten else "", ones))
    return "|".join(ten + ones for ten, ones in parts)


def _layers_text(runs: Sequence[tuple[int, int]]) -> str:
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)


def _rules(group: Group, picks: Sequence[int]) -> list[dict[str, str]]:
    """Return the rules of a group: ranges of layers first, and what most layers have without a range."""
    usual = max(sorted(set(picks)), key=picks.count)
    mean = sum(group.weights) / len(group.weights)
    rules = []
    for kind in sorted(set(picks), reverse=True):
        if kind == usual:
            continue
        runs = [(group.layers[start], group.layers[end - 1]) for start, end in _runs(picks) if picks[start] == kind]
        own = [weight for weight, pick in zip(group.weights, picks) if pick == kind]
        layers = "|".join(number_range(first, last) for first, last in runs)
        if not re.fullmatch(r"\d+|\[\d-\d\]", layers):
            layers = f"({layers})"
        pattern = f"({group.pattern})" if "|nextn" in group.pattern else group.pattern
        rules.append(
            {
                "match": rf"blk\.{layers}\.{pattern}",
                "type": group.kinds[kind],
                "reason": f"layers {_layers_text(runs)}; {sum(own) / len(own) / mean:.1f} times the mean sensitivity of"
                " their kind",
            }
        )
    reason = "the other layers" if rules else "all layers alike"
    share = max(group.shares)
    read = (
        "read whole for every token"
        if share == 1
        else f"of which a token reads one part in {1 / share:.0f}"
        if share
        else "never read"
    )
    rules.append({"match": group.pattern, "type": group.kinds[usual], "reason": f"{reason}; {read}"})
    return rules


def recipe_of(problem: Problem, found: Assignment, title: str, origin: str, architecture: str) -> dict[str, Any]:
    """Return an assignment as the data of a recipe (see recipe.py)."""
    ends: dict[str, dict[str, str]] = {}
    rules: list[dict[str, str]] = []
    largest, base = 0, ""
    for group, picks in zip(problem.groups, found.choice):
        if group.pattern in (re.escape(EMBEDDING), re.escape(OUTPUT)):
            reason = "read whole for every token" if group.shares[0] == 1 else "one row is looked up for a token"
            ends[group.pattern] = {"type": group.kinds[picks[0]], "reason": reason}
            continue
        rules += _rules(group, picks)
        size = sum(sizes[pick] for pick, sizes in zip(picks, group.sizes))
        if size > largest:
            largest, base = size, rules[-1]["type"]
    embedding = ends.get(re.escape(EMBEDDING), {"type": base or "q6_K", "reason": "there is none"})
    return {
        "title": title,
        "origin": origin,
        "architecture": architecture,
        "base": _base(base),
        "requires_imatrix": True,
        "allow_requantize": True,
        "token_embedding": embedding,
        "output": ends.get(re.escape(OUTPUT), {**embedding, "reason": "the embedding serves as the output"}),
        "rules": rules,
    }


def _base(kind: str) -> str:
    """Return the file type for all that no rule names: that of the largest group, if a file type has its name."""
    return (
        kind.upper()
        if kind in ("iq2_ks", "iq2_k", "iq2_kl", "iq3_ks", "iq3_k", "iq4_ks", "iq4_k", "iq5_k")
        else "IQ2_KS"
    )
