"""Whether an importance matrix belongs to a model, and has what the model's types need.

Source of what the engine does: ``llama_model_quantize_internal`` in ``src/llama-quantize.cpp`` and
``ggml_quantize_requires_imatrix`` in ``ggml/src/ggml.c`` of ik_llama.cpp (commit 8337e4cd3). It looks only at tensors
that get another type. An entry of another size than the tensor's is an error, after hours; a missing one is an error
for a few types, and a line of the log for all others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Header, Tensor
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import Imatrix
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import Prediction, Recipe, quantizable


class CoverageError(ValueError):
    """Model, recipe and importance matrix do not belong together; the text says why, ``code`` is one word for it."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


# Without an entry the engine stops, but for embedding and output ...
_DEMANDING = frozenset(("iq2_xxs", "iq2_xs", "iq2_s", "iq2_kt", "iq1_s", "iq1_m", "iq1_kt"))
# ... with these types an assertion fails there too ...
_ASSERTING = frozenset(("iq2_xxs", "iq2_xs", "iq1_s"))
# ... and with these file types it does not even begin without a matrix.
_DEMANDING_BASES = frozenset(("IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K_S", "IQ1_S", "IQ1_M"))
# What it makes of these without an entry is poor; a recipe that requires a matrix has them in mind.
POOR_WITHOUT_ENTRY = _DEMANDING | {"iq2_k", "iq2_ks", "iq2_kl"}
# Types for which the values do not matter.
_UNWEIGHTED = frozenset(("f32", "f16", "bf16", "q8_0", "q8_KV"))
# llama-imatrix computes no entry for these by default.
_ENDS = frozenset(("token_embd.weight", "output.weight"))
_GATE = re.compile(r"(?<=\.ffn_)gate(?=(_exps|_shexp)?\.weight$)")
_LAYER = re.compile(r"blk\.(\d+)\.")


class _Need(NamedTuple):
    """A tensor that gets another type, and the entry that it is quantized with; empty for none."""

    tensor: Tensor
    entry: str


def entry_of(name: str, entries: Collection[str]) -> str:
    """Return the name of the entry that the engine takes for a tensor, empty if there is none.

    Tensors that see the same activations help each other out: gate and up of a feed-forward network, apart or in one
    tensor, and two forms of the values of latent attention.
    """
    others: tuple[str, ...] = ()
    if re.search(r"ffn_(up|gate)_exps\.weight", name):
        stem = re.split(r"ffn_(?:up|gate)_exps\.weight", name)[0]
        others = (f"{stem}ffn_gate_up_exps.weight", f"{stem}ffn_up_exps.weight")
    elif "ffn_gate_up_exps.weight" in name:
        others = (name.replace("ffn_gate_up_exps.weight", "ffn_up_exps.weight"),)
    elif "ffn_gate.weight" in name:
        others = (name.replace("ffn_gate.weight", "ffn_up.weight"),)
    elif ".attn_v_b.weight" in name:
        others = (name.replace(".attn_v_b.weight", ".attn_kv_b.weight"),)
    elif ".attn_kv_b.weight" in name:
        others = (name.replace(".attn_kv_b.weight", ".attn_v_b.weight"),)
    return next((entry for entry in (name, *others) if entry in entries), "")


def _wanted_values(tensor: Tensor) -> int:
    """Return how many values the engine expects: a row's, for each expert."""
    return tensor.shape[0] * (tensor.shape[2] if len(tensor.shape) > 2 else 1)


def _predicts(tensor: Tensor, source: Header) -> bool:
    """Return whether a tensor is of a layer that predicts further tokens (MTP); llama-imatrix does not run it."""
    found = _LAYER.match(tensor.name)
    layers = source.metadata.get(f"{source.architecture}.block_count")
    predicting = source.metadata.get(f"{source.architecture}.nextn_predict_layers")
    if not found or not isinstance(layers, int) or not isinstance(predicting, int):
        return False
    return int(found[1]) >= layers - predicting


def _needs(source: Header, prediction: Prediction, lengths: Mapping[str, int]) -> Iterator[_Need]:
    for before, after in zip(source.tensors, prediction.tensors):
        if before.type != after.type:
            entry = entry_of(after.name, lengths)
            # The engine ignores an embedding's entry of another size.
            fits = after.name != "token_embd.weight" or lengths.get(entry) == _wanted_values(after)
            yield _Need(after, entry if fits else "")


def _demands(tensor: Tensor, base: str) -> bool:
    """Return whether the engine stops without an entry for the tensor."""
    if tensor.name in _ENDS:
        return tensor.type in _ASSERTING
    return tensor.type in _DEMANDING or (tensor.type == "q2_K" and base == "Q2_K_S")


def _never_computed(tensor: Tensor, source: Header, lengths: Mapping[str, int]) -> bool:
    """Return whether llama-imatrix gives no entry to a tensor of such a name, however well the matrix fits.

    It computes gate and up of a network in one step, and counts it for up.
    """
    up = _GATE.sub("up", tensor.name)
    return tensor.name in _ENDS or _predicts(tensor, source) or (up != tensor.name and up in lengths)


def experts_of(source: Header) -> dict[str, int]:
    """Return how many experts each tensor has, by its name, of those with more than one."""
    return {
        tensor.name: tensor.shape[2] for tensor in source.tensors if len(tensor.shape) > 2 and "_exps." in tensor.name
    }


def experts_warnings(source: Header, empty: Mapping[str, int]) -> list[str]:
    """Return warnings about experts that have no data in a matrix (``empty``: how many, by entry)."""
    experts = experts_of(source)
    kinds: dict[str, list[int]] = {}
    for name in empty:
        row = kinds.setdefault(name.removesuffix(".weight").rpartition(".")[2], [0, 0])
        row[0] += empty[name]
        row[1] += experts[name]
    return [
        f"{count} of {of} experts of {kind} have no data: the text that the matrix was made from did not reach them, "
        "and all of their columns weigh the same"
        for kind, (count, of) in kinds.items()
        if count
    ]


def entries_lacking(source: Header, lengths: Mapping[str, int]) -> tuple[int, list[str]]:
    """Return how many tensors of a model can use an entry, whatever they are quantized to, and which have none."""
    wanted = [
        tensor.name for tensor in source.tensors if quantizable(tensor) and not _never_computed(tensor, source, lengths)
    ]
    return len(wanted), [name for name in wanted if not entry_of(name, lengths)]


def _refuse_missing(recipe: Recipe, source: Header, needs: list[_Need], lengths: Mapping[str, int]) -> None:
    """Raise CoverageError where the engine, or the recipe, insists on entries that are missing."""
    lacking = [need.tensor for need in needs if not need.entry]
    demanded = [tensor for tensor in lacking if _demands(tensor, recipe.base)]
    if demanded:
        what = "has no entry with data" if lengths else "is missing"
        raise CoverageError(
            f"the importance matrix {what} for {len(demanded)} of {len(needs)} tensors, and without one the engine "
            f"refuses their types; the first is {demanded[0].name} ({demanded[0].type}). Use the importance matrix of "
            "this very model, or a recipe with other types for them.",
            "demanded",
        )
    poor = [
        tensor
        for tensor in lacking
        if tensor.type in POOR_WITHOUT_ENTRY and not _never_computed(tensor, source, lengths)
    ]
    if poor and lengths and recipe.requires_imatrix:
        raise CoverageError(
            f"the importance matrix has no entry with data for {len(poor)} of {len(needs)} tensors, whose types have "
            f"too few bits to do without; the first is {poor[0].name} ({poor[0].type}). Use the importance matrix of "
            "this very model, or a recipe with other types for them, or with requires_imatrix: false.",
            "poor",
        )


def check_without_matrix(recipe: Recipe, source: Header, prediction: Prediction) -> None:
    """Raise CoverageError where the engine refuses to quantize by the recipe without an importance matrix."""
    if recipe.base in _DEMANDING_BASES:
        raise CoverageError(
            f"the importance matrix is missing, and the engine refuses the file type {recipe.base} without one. Use "
            "that of the model, or a recipe with another base.",
            "demanded",
        )
    _refuse_missing(recipe, source, list(_needs(source, prediction, {})), {})


def check_matrix(recipe: Recipe, source: Header, prediction: Prediction, matrix: Imatrix) -> list[str]:
    """Return warnings about a matrix that fits the source. Raises CoverageError for one that does not.

    Nothing is known, and nothing said, of a matrix that was not read.
    """
    if matrix.lengths is None:
        return []
    lengths = matrix.lengths
    if not lengths:
        raise CoverageError("the importance matrix has no entry with data in it. Use another one.", "empty")
    if not any(entry_of(tensor.name, lengths) for tensor in source.tensors):
        raise CoverageError(
            f"the importance matrix was made for another model: none of its {len(lengths)} entries, such as "
            f"{next(iter(lengths))}, names a tensor of the source. Use the importance matrix of this very model.",
            "other",
        )
    needs = list(_needs(source, prediction, lengths))
    wrong = [need for need in needs if need.entry and lengths[need.entry] != _wanted_values(need.tensor)]
    if wrong:
        tensor, entry = wrong[0]
        count, of = len({need.entry for need in wrong}), f" for {tensor.name}" if entry != tensor.name else ""
        raise CoverageError(
            f"the importance matrix was made for another model: {count} of {len(lengths)} entries differ in size from "
            f"the source's tensors; the first is {entry} with {lengths[entry]} values instead of "
            f"{_wanted_values(tensor)}{of}. Use the importance matrix of this very model.",
            "size",
        )
    _refuse_missing(recipe, source, needs, lengths)
    weighted = [
        need
        for need in needs
        if need.tensor.type not in _UNWEIGHTED and (need.entry or not _never_computed(need.tensor, source, lengths))
    ]
    lacking = [need.tensor for need in weighted if not need.entry]
    warnings = []
    if lacking:
        warnings.append(
            f"the importance matrix has entries for {len(weighted) - len(lacking)} of {len(weighted)} tensors that can "
            f"use one; the others, {lacking[0].name} ({lacking[0].type}) being the first, are quantized without"
        )
    if matrix.trailing:
        warnings.append(
            f"the importance matrix goes on for {matrix.trailing} bytes after its end; the engine does not read them"
        )
    return warnings
