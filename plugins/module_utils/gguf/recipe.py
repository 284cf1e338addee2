"""Quantization recipes: the options of llama-quantize, and the type that each tensor will have.

A recipe is data (see ``roles/gguf_quantize/files/recipes``)::

    title: one line
    origin: where it comes from
    architecture: qwen35moe            # of the models it is made for
    base: IQ2_KS                       # the file type, for all that nothing else decides
    requires_imatrix: true
    allow_requantize: true             # the source may be quantized already (say, Q8_0)
    token_embedding: {type: q6_K, reason: ...}
    output: {type: q6_K, reason: ...}
    attention: {q: q8_0, output: q8_0}  # the --attn-*-type options, for what they are worth
    rules:                             # --custom-q: the first match in a tensor's name wins
      - {match: 'ffn_(up|gate|down)_shexp\\.weight', type: q8_0, reason: ...}
    engine:                            # what the engine does by itself where no rule matches
      - {match: 'attn_v\\.weight', type: iq4_k, reason: ...}

What the engine chooses by itself depends on base type, model and version. A recipe states it in ``engine``, and that
counts; where it states nothing, ``file_type.py`` knows. The result is compared with it, tensor by tensor, before it is
published. Rules that match nothing, large tensors that nothing names, and statements that contradict the engine's
source are reported before.

Source of the semantics: ``src/llama-quantize.cpp`` and ``examples/quantize/quantize.cpp`` of ik_llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.file_type import (
    BASE_TYPES,
    FEWEST_EXPERTS,
    NO_OPTION,
    ONLY_OUTPUT,
    own_choices,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import (
    DEFAULT_ALIGNMENT,
    TYPES,
    GGUFError,
    Header,
    Tensor,
    file_bytes,
    tensor_bytes,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix


class RecipeError(ValueError):
    """The recipe is wrong, or cannot be used with this source; the text says why.

    ``place`` is the key of the recipe that it is about (``rules[0].type``), empty where it is the whole.
    """

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.place = place


# Rows of such types are woven together for one kind of processor; the engine does it when it loads, if it should.
_WOVEN = re.compile(r"_r\d+$|x\d$")
_NOT_BASES = ("f32", "f16", "bf16", "f64", "i8", "i16", "i32", "i64", "i2_s", "tq1_0", "tq2_0", "nvfp4", "q1_0_g128")
#: Types that a tensor can get by a recipe.
TARGETS = frozenset(name for name in TYPES if not _WOVEN.search(name)) - frozenset(
    ("f64", "i8", "i16", "i32", "i64", "i2_s", "tq1_0", "tq2_0", "nvfp4")
)
_BASES = {name.upper(): name for name in TARGETS if name not in _NOT_BASES}
_BASES.update(BASE_TYPES)

# The options, and the part of a name for which the engine asks each. It looks for attn_q before attn_qkv, and finds
# the former in the latter: so --attn-q-type decides attn_qkv too, and --attn-qkv-type never has a say.
_ATTENTION = {
    "v": re.compile(r"attn_v\.weight"),
    "k": re.compile(r"attn_k"),
    "q": re.compile(r"attn_q"),
    "output": re.compile(r"attn_output\.weight"),
}
_ATTENTION_OPTIONS = ("q", "k", "v", "qkv", "output")

# What is never quantized, like everything with fewer than two dimensions.
_KEPT = re.compile(
    r"(?<!weight)$"
    r"|_norm\.weight|ffn_gate_inp\.weight|ssm_conv1d\.weight|ssm_x\.weight|ssm_dt\.weight|attn_rel_b\.weight"
    r"|^position_embd\.weight$|^token_types\.weight$"
)

# What the engine takes where a row does not fill blocks of 256.
_FALLBACK = {
    "q4_K": "q5_0",
    "iq4_k": "q5_0",
    "iq5_ks": "q5_0",
    "q5_K": "q6_0",
    "iq5_k": "q6_0",
    "q6_K": "q8_0",
    "iq6_k": "q8_0",
}

# Python's and C++'s regular expressions agree on these; "," and "=" would end the pattern on the command line.
_PATTERN = re.compile(r"(?:[A-Za-z0-9_|^$.*+?()-]|\\[.d]|\[\^?[A-Za-z0-9_-]+\])+")
_DOUBTFUL = re.compile(r"\(\?(?!:)|[*+?][*+]")


@dataclass(frozen=True)
class Rule:
    """Tensors in whose name ``match`` is found get ``type``."""

    match: str
    type: str
    reason: str = ""

    def found_in(self, name: str) -> bool:
        return re.search(self.match, name) is not None


@dataclass(frozen=True)
class Recipe:
    """A checked recipe; the fields are those of the file. Empty types of embedding and output: the engine chooses."""

    title: str
    origin: str
    architecture: str
    base: str
    requires_imatrix: bool
    allow_requantize: bool
    token_embedding: str
    output: str
    attention: dict[str, str]
    rules: tuple[Rule, ...]
    engine: tuple[Rule, ...]


_KEYS = {
    "title": str,
    "origin": str,
    "architecture": str,
    "base": str,
    "requires_imatrix": bool,
    "allow_requantize": bool,
    "token_embedding": dict,
    "output": dict,
    "attention": dict,
    "rules": list,
    "engine": list,
}
_OPTIONAL = ("attention", "rules", "engine")


def load_recipe(data: Any) -> Recipe:
    """Check a recipe's data, as read from its file. Raises RecipeError naming the place."""
    if not isinstance(data, Mapping):
        raise RecipeError("the recipe is not a mapping of keys to values")
    for key in data:
        if key not in _KEYS:
            raise RecipeError(f"the recipe has the unknown key {key!r}; known are {', '.join(_KEYS)}", str(key))
    for key, kind in _KEYS.items():
        if key not in data and key in _OPTIONAL:
            continue
        if not isinstance(data.get(key), kind) or (kind is str and not data[key].strip()):
            raise RecipeError(f"the recipe's {key!r} is missing or not a {kind.__name__}", key)
    base = data["base"]
    if base not in _BASES:
        raise RecipeError(f"the recipe's base {base!r} is not one of {', '.join(sorted(_BASES))}", "base")

    recipe = Recipe(
        title=data["title"],
        origin=data["origin"],
        architecture=data["architecture"],
        base=base,
        requires_imatrix=data["requires_imatrix"],
        allow_requantize=data["allow_requantize"],
        token_embedding=_typed(data["token_embedding"], "token_embedding"),
        output=_typed(data["output"], "output"),
        attention={key: _type(value, f"attention.{key}") for key, value in data.get("attention", {}).items()},
        rules=tuple(_rule(item, f"rules[{index}]") for index, item in enumerate(data.get("rules", []))),
        engine=tuple(_rule(item, f"engine[{index}]") for index, item in enumerate(data.get("engine", []))),
    )
    for key in recipe.attention:
        if key not in _ATTENTION_OPTIONS:
            raise RecipeError(
                f"the recipe's 'attention' has the unknown key {key!r}; known are q, k, v, qkv, output", "attention"
            )
        example = "blk.0.attn_" + key + ".weight"
        if key not in _honoured(base) and not any(rule.found_in(example) for rule in recipe.rules + recipe.engine):
            raise RecipeError(
                f"the engine ignores --attn-{key}-type with base {base}: say in 'engine' what it does instead, "
                f"or set the type by a rule in 'rules'",
                f"attention.{key}",
            )
    return recipe


def _typed(item: Mapping[str, Any], where: str) -> str:
    if set(item) - {"type", "reason"}:
        raise RecipeError(f"the recipe's {where!r} holds only 'type' and 'reason'", where)
    return _type(item.get("type"), f"{where}.type")


def _type(name: Any, where: str) -> str:
    if name in TYPES and _WOVEN.search(name):
        raise RecipeError(
            f"the recipe's {where!r}: {name} is a type of interleaved rows; "
            "name the plain type, the engine interleaves when it loads the model (--run-time-repack)",
            where,
        )
    if name not in TARGETS:
        raise RecipeError(f"the recipe's {where!r}: {name!r} is not one of {', '.join(sorted(TARGETS))}", where)
    return str(name)


def _rule(item: Any, where: str) -> Rule:
    if not isinstance(item, Mapping) or set(item) - {"match", "type", "reason"} or "match" not in item:
        raise RecipeError(f"the recipe's {where!r} is not a mapping of 'match', 'type' and 'reason'", where)
    match = str(item["match"])
    if not _PATTERN.fullmatch(match) or _DOUBTFUL.search(match):
        raise RecipeError(
            f"the recipe's {where!r}: the pattern {match!r} uses more than letters, digits, _ - . * + ? | ^ $, groups, "
            "\\. \\d and [sets]: the rest does not pass llama-quantize's command line, or means another thing there",
            f"{where}.match",
        )
    try:
        re.compile(match)
    except re.error as error:
        raise RecipeError(
            f"the recipe's {where!r}: the pattern {match!r} is wrong: {error}", f"{where}.match"
        ) from None
    return Rule(match, _type(item.get("type"), f"{where}.type"), str(item.get("reason", "")))


def _honoured(base: str) -> tuple[str, ...]:
    """The --attn-*-type options that have a say with this base."""
    if base in NO_OPTION:
        return ()
    return ("output",) if base in ONLY_OUTPUT else tuple(_ATTENTION)


def plain(base: str, architecture: str) -> Recipe:
    """Return the recipe of ``llama-quantize SOURCE RESULT BASE``, without options. Raises RecipeError."""
    if base not in _BASES:
        raise RecipeError(f"the file type {base!r} is not one of {', '.join(sorted(_BASES))}", "base")
    return Recipe(base, "llama-quantize", architecture, base, False, True, "", "", {}, (), ())


def of_file_types(architecture: str, types: Collection[str]) -> dict[str, Recipe]:
    """Return the recipes, by name, of all file types whose own tensor type is one of ``types``."""
    return {name: plain(name, architecture) for name, kind in _BASES.items() if kind in types}


def effective(recipe: Recipe) -> dict[str, Any]:
    """Return all of the recipe that reaches the engine and so decides the result's bytes, for the model's ID."""
    return {
        "base": recipe.base,
        "token_embedding": recipe.token_embedding,
        "output": recipe.output,
        "attention": recipe.attention,
        "rules": [[rule.match, rule.type] for rule in recipe.rules],
    }


def quantize_argv(recipe: Recipe, program: str, source: str, result: str, imatrix: str, threads: int) -> list[str]:
    """Return the command line. ``imatrix`` may be empty; 0 ``threads`` are as many as the host has."""
    argv = [program]
    if recipe.allow_requantize:
        argv.append("--allow-requantize")
    if imatrix:
        argv += ["--imatrix", imatrix]
    if recipe.token_embedding:
        argv += ["--token-embedding-type", recipe.token_embedding]
    if recipe.output:
        argv += ["--output-tensor-type", recipe.output]
    for option in _ATTENTION_OPTIONS:
        if option in recipe.attention:
            argv += [f"--attn-{option}-type", recipe.attention[option]]
    if recipe.rules:
        argv += ["--custom-q", ",".join(f"{rule.match}={rule.type}" for rule in recipe.rules)]
    return [*argv, source, result, recipe.base, *([str(threads)] if threads else [])]


def quantizable(tensor: Tensor) -> bool:
    """Return whether the engine quantizes ``tensor`` at all, whatever the recipe says."""
    return tensor.dimensions > 1 and not _KEPT.search(tensor.name)


def predict_type(recipe: Recipe, tensor: Tensor, own: str = "") -> str:
    """Return the type the engine will give ``tensor`` of the source. Raises RecipeError where it would refuse.

    ``own``: what the engine chooses by itself; empty for the base type.
    """
    if not quantizable(tensor):
        return tensor.type
    wanted, _rule = _decided(recipe, tensor.name, own)
    # Types given by these two options are taken as they are.
    as_given = {"token_embd.weight": recipe.token_embedding, "output.weight": recipe.output}.get(tensor.name)
    if not as_given and TYPES[wanted].block == 256 and tensor.shape[0] % 256:
        wanted = _FALLBACK.get(wanted, "iq4_nl")
    if tensor.shape[0] % TYPES[wanted].block:
        raise RecipeError(f"tensor {tensor.name} has rows of {tensor.shape[0]} elements, which {wanted} cannot hold")
    if wanted != tensor.type and tensor.type not in ("f32", "f16", "bf16") and not recipe.allow_requantize:
        raise RecipeError(
            f"tensor {tensor.name} of the source is {tensor.type} already, and the recipe has allow_requantize: false; "
            "take an F16 or BF16 source, or a recipe that allows it",
            "allow_requantize",
        )
    return wanted


def _decided(recipe: Recipe, name: str, own: str) -> tuple[str, Rule | str]:
    """The type of a tensor by its name, and what decided: a rule, a key of the recipe, or '' for the engine itself."""
    if name == "token_embd.weight" and recipe.token_embedding:
        return recipe.token_embedding, "token_embedding"
    if name == "output.weight" and recipe.output:
        return recipe.output, "output"
    for rule in recipe.rules + recipe.engine:
        if rule.found_in(name):
            return rule.type, rule
    for option, pattern in _ATTENTION.items():
        if option in _honoured(recipe.base) and option in recipe.attention and pattern.search(name):
            return recipe.attention[option], "attention"
    return own or _BASES[recipe.base], ""


@dataclass(frozen=True)
class Doubt:
    """What the recipe probably does not mean.

    ``kind``: a rule that is ``unmatched`` (its pattern matches no name) or ``idle`` (it matches, and decides nothing),
    a statement on the engine that is ``refuted`` by its source, tensors that are ``unnamed``. ``about``: the rule's
    place in the recipe (``rules[0]``), or the tensors' name without the layer.
    """

    kind: str
    about: str
    text: str


@dataclass(frozen=True)
class Prediction:
    """What quantizing will give: each tensor (offsets are not predicted), and sizes in bytes.

    ``doubts``: what the recipe probably does not mean; ``warnings`` are their sentences.
    """

    tensors: tuple[Tensor, ...]
    tensor_bytes: int
    file_bytes: int
    doubts: tuple[Doubt, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(doubt.text for doubt in self.doubts)


def predict(recipe: Recipe, source: Header, imatrix: Imatrix | None, imatrix_name: str) -> Prediction:
    """Predict the result from the source's header.

    ``imatrix_name`` is the name given to the engine, which writes it into the file. Raises RecipeError.
    """
    if source.architecture != recipe.architecture:
        raise RecipeError(
            f"the recipe is for {recipe.architecture} models, and the source is {source.architecture or 'of no kind'}",
            "architecture",
        )
    if source.alignment != DEFAULT_ALIGNMENT:
        raise RecipeError(
            f"the source is aligned to {source.alignment} bytes; the engine writes only {DEFAULT_ALIGNMENT}"
        )
    names = [tensor.name for tensor in source.tensors]
    if recipe.rules and names and not any(rule.found_in(name) for rule in recipe.rules for name in names):
        raise RecipeError(
            f"none of the recipe's {len(recipe.rules)} rules matches a tensor of the source, neither rules[0] "
            f"({recipe.rules[0].match}) nor a later one, where names are like {names[-1]}: it is for another model, or "
            "its patterns are wrong",
            "rules",
        )
    if recipe.requires_imatrix and imatrix is None:
        raise RecipeError("the recipe requires an importance matrix", "requires_imatrix")
    own = _own_choices(recipe, source, imatrix is not None)
    try:
        tensors = tuple(
            Tensor(item.name, item.shape, predict_type(recipe, item, own.get(item.name, ""))) for item in source.tensors
        )
        sizes = [tensor_bytes(item.type, item.shape) for item in tensors]
    except GGUFError as error:
        raise RecipeError(str(error)) from None
    header = _header_bytes(source, imatrix, imatrix_name)
    return Prediction(tensors, sum(sizes), file_bytes(header, sizes), tuple(_doubts(recipe, source, own)))


def _own_choices(recipe: Recipe, source: Header, has_imatrix: bool) -> dict[str, str]:
    """What the engine would choose for each tensor if no option decided; empty for models whose kind is not known."""
    experts, layers = (
        source.metadata.get(f"{source.architecture}.{key}", 0) for key in ("expert_count", "block_count")
    )
    if not (isinstance(experts, int) and isinstance(layers, int) and experts >= FEWEST_EXPERTS):
        return {}
    return own_choices(
        recipe.base,
        _BASES[recipe.base],
        filter(quantizable, source.tensors),
        layers,
        any(tensor.name == "output.weight" for tensor in source.tensors),
        has_imatrix,
    )


# Elements of a tensor that is worth a warning: a thousandth of this would not be seen in the size of a model.
_LARGE = 1 << 20


def _doubts(recipe: Recipe, source: Header, own: dict[str, str]) -> list[Doubt]:
    """What of the recipe does not take effect on ``source``, and what of the source the recipe forgets."""
    rules = recipe.rules + recipe.engine
    places = [f"rules[{index}]" for index in range(len(recipe.rules))]
    places += [f"engine[{index}]" for index in range(len(recipe.engine))]
    decides = [0] * len(rules)
    unnamed: dict[tuple[str, str], int] = {}
    refuted: dict[tuple[str, str, str], int] = {}
    names = [tensor.name for tensor in source.tensors]
    for tensor in filter(quantizable, source.tensors):
        kind, by = _decided(recipe, tensor.name, own.get(tensor.name, ""))
        group = group_of(tensor.name)
        if isinstance(by, Rule):
            index = next(index for index, rule in enumerate(rules) if rule is by)
            decides[index] += 1
            computed = own.get(tensor.name, kind)
            if index >= len(recipe.rules) and computed != kind:
                key = (places[index], group, computed)
                refuted[key] = refuted.get(key, 0) + 1
        elif not by and rules and tensor.elements >= _LARGE:
            unnamed[group, kind] = unnamed.get((group, kind), 0) + 1
    found = []
    for place, rule, count in zip(places, rules, decides):
        if not count:
            idle = any(map(rule.found_in, names))
            why = ": an earlier one decides, or they are never quantized" if idle else ", for it matches no name"
            text = f"{place} ({rule.match}) decides no tensor of this source{why}"
            found.append(Doubt("idle" if idle else "unmatched", place, text))
    for (group, kind), count in unnamed.items():
        text = (
            f"{group} ({count} of them) is named by no rule, and the engine makes it {kind} by itself: "
            "add a rule, or say under 'engine' that it is meant"
        )
        found.append(Doubt("unnamed", group, text))
    for (place, group, computed), count in refuted.items():
        text = (
            f"{place} says that the engine makes {group} ({count} of them) {rules[places.index(place)].type}; "
            f"by its source it makes it {computed}"
        )
        found.append(Doubt("refuted", place, text))
    return found


def group_of(name: str) -> str:
    """Return the name of a tensor without the layer's number."""
    return re.sub(r"\.\d+\.", ".*.", name)


def _header_bytes(source: Header, imatrix: Imatrix | None, imatrix_name: str) -> int:
    """Bytes of the result's header: the source's, less what splitting left there, with what the engine adds."""
    entries = {key: size for key, size in source.entry_bytes.items() if key not in _SPLIT_KEYS}

    def number(key: str) -> None:
        entries[key] = 8 + len(key) + 4 + 4

    def text(key: str, value: str) -> None:
        # The engine keeps 127 bytes of a text that it sets.
        entries[key] = 8 + len(key) + 4 + 8 + min(len(value.encode()), 127)

    number("general.quantization_version")
    number("general.file_type")
    if imatrix:
        text("quantize.imatrix.file", imatrix_name)
        if imatrix.dataset:
            text("quantize.imatrix.dataset", imatrix.dataset)
        number("quantize.imatrix.entries_count")
        if imatrix.chunks > 0:
            number("quantize.imatrix.chunks_count")
    tensors = 0
    for tensor in source.tensors:
        tensors += 8 + len(tensor.name.encode()) + 4 + 8 * tensor.dimensions + 4 + 8
    return 24 + sum(entries.values()) + tensors


_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")


def differences(predicted: Prediction, result: Header, size: int) -> list[str]:
    """Return where the engine's file (its header, its size) differs from the prediction; an empty list if nowhere."""
    wanted = {tensor.name: tensor for tensor in predicted.tensors}
    found = {tensor.name: tensor for tensor in result.tensors}
    lines = [f"{name} is missing" for name in wanted if name not in found]
    lines += [f"{name} was not expected" for name in found if name not in wanted]
    for name, tensor in found.items():
        if name in wanted and tensor.type != wanted[name].type:
            lines.append(f"{name} is {tensor.type}, predicted was {wanted[name].type}")
    if not lines and size != predicted.file_bytes:
        lines.append(f"the file has {size} bytes, predicted were {predicted.file_bytes}")
    return lines


def groups(tensors: tuple[Tensor, ...]) -> dict[str, dict[str, dict[str, int]]]:
    """Return sums by name (without the layer's number) and type: ``{group: {type: {tensors, bytes}}}``."""
    table: dict[str, dict[str, dict[str, int]]] = {}
    for tensor in tensors:
        row = table.setdefault(group_of(tensor.name), {}).setdefault(tensor.type, {"tensors": 0, "bytes": 0})
        row["tensors"] += 1
        row["bytes"] += tensor_bytes(tensor.type, tensor.shape)
    return table
