"""Faults that are known, or were measured, of a model on an engine release.

Known hazards are data: ``roles/llama_server/files/hazards.yml``, which says what an entry may hold. What was measured
is the release's self-test (module ``engine_selftest``), kept in ``release.json`` as ``self_test``. Both count:

========== ======================================================= =========
state      for a tensor type                                       objection
========== ======================================================= =========
measured   the self-test found it off on that host, known or not   yes
known      an entry names it, and it was not measured              yes
doubtful   an entry names it, and the self-test found it sound     no
========== ======================================================= =========

A measurement with one set of scales proves a fault, but soundness only for that set: so ``doubtful`` is still reported.
Hazards that are not about tensor types cannot be measured by the self-test and are always ``known``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

REQUIRED = {"id": str, "effect": str, "title": str, "happens": str, "advice": str, "fixed_by": str}
#: What a hazard costs at worst: answers are less good, the server ends, or a user gets somebody else's text.
EFFECTS = ("precision", "outage", "leak")
OPTIONAL = {
    "from": str,
    "until": str,
    "architectures": list,
    "options": dict,
    "tensor_types": list,
    "model_architectures": list,
    "parallel": int,
}


def moment(text: str) -> datetime:
    """Return an ISO 8601 date-time with its offset, as Git writes it (%cI). ValueError for anything else."""
    # Python before 3.11 reads neither Z nor an offset without a colon.
    found = datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.strip().replace("Z", "+00:00")))
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return found.astimezone(timezone.utc)


def problems(entries: Any) -> list[str]:
    """Return what is wrong with the data: a sentence each."""
    if not isinstance(entries, list):
        return ["the file is not a list of hazards"]
    found = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            found.append(f"hazard {number} is not a mapping")
            continue
        name = f"hazard {entry.get('id', number)}"
        found += [f"{name} has no {key}" for key in REQUIRED if key not in entry]
        found += [f"{name}: {key} is not known" for key in entry if key not in REQUIRED and key not in OPTIONAL]
        for key, kind in {**REQUIRED, **OPTIONAL}.items():
            if key in entry and not isinstance(entry[key], kind):
                found.append(f"{name}: {key} is not a {kind.__name__}")
        if entry.get("effect", "leak") not in EFFECTS:
            found.append(f"{name}: effect is none of {', '.join(EFFECTS)}")
        for key in ("from", "until"):
            try:
                moment(str(entry.get(key, "1970-01-01T00:00:00Z")))
            except ValueError:
                found.append(f"{name}: {key} is not a date-time like 2026-09-22T00:00:00Z")
    twice = [name for name, count in Counter(e.get("id") for e in entries if isinstance(e, dict)).items() if count > 1]
    return found + [f"two hazards have the id {name}" for name in twice]


def of_release(entries: Iterable[Mapping[str, Any]], release: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries that hold for a release, by its manifest: ``committed``, ``architecture`` and ``options``.

    A release that does not say when its commit was made may be of any time, and so has them all.
    """
    committed = release.get("committed")
    at = moment(committed) if committed else None
    options = release.get("options") or {}
    found = []
    for entry in entries:
        if at and "from" in entry and at < moment(entry["from"]):
            continue
        if at and "until" in entry and at > moment(entry["until"]):
            continue
        if "architectures" in entry and release.get("architecture") not in entry["architectures"]:
            continue
        if any(options.get(name) != value for name, value in entry.get("options", {}).items()):
            continue
        found.append(entry)
    return found


def counted(types: Mapping[str, str] | Mapping[str, int] | Iterable[str]) -> Counter[str]:
    """Return how many tensors have each type, from the types by tensor, the same numbers, or just the types."""
    if not isinstance(types, Mapping):
        return Counter(types)
    numbers = {kind: number for kind, number in types.items() if isinstance(number, int)}
    return Counter(numbers) if numbers else Counter(str(kind) for kind in types.values())


def of_deployment(
    entries: Iterable[Mapping[str, Any]],
    release: Mapping[str, Any],
    types: Mapping[str, str] | Mapping[str, int] | Sequence[str],
    model_architecture: str = "",
    parallel: int = 1,
) -> list[dict[str, Any]]:
    """Return what goes wrong when a model is served by a release, the worst first.

    Args:
        entries: the known hazards.
        release: the manifest, with ``self_test`` (as module ``engine_selftest`` returned it) where there was one.
        types: the model's types by tensor, the number of tensors of each type, or just the types.
        model_architecture: ``general.architecture`` of the model.
        parallel: slots of the server.

    Returns:
        For each: ``id`` (``self-test`` where no entry knows of it), ``effect`` (of EFFECTS), ``state`` (see above),
        ``objection`` (whether it speaks against the deployment), ``types`` (those concerned), ``errors`` (measured, by
        type) and ``text``: what, how bad, and what to do.
    """
    counts = counted(types)
    self_test = release.get("self_test") or {}
    measured: Mapping[str, Mapping[str, Any]] = self_test.get("types", {})
    bad = [kind for kind in counts if not measured.get(kind, {"ok": True})["ok"]]
    found: list[dict[str, Any]] = []

    def add(state: str, entry: Mapping[str, Any], kinds: Sequence[str]) -> None:
        parts = [f"{entry['title']} ({entry['id']}). {entry['happens']}"]
        if kinds:
            parts.append(f"Of this model: {tensors(kinds, counts)}.")
        if any(kind in measured for kind in kinds):
            verdict = "off" if state == "measured" else "sound with the scales it uses"
            numbers = ", ".join(f"{kind} {measured[kind]['error']:.2g}" for kind in kinds if kind in measured)
            limit = f", limit {self_test['limit']:g}" if "limit" in self_test else ""
            parts.append(f"The self-test of the release found this {verdict}: error {numbers}{limit}.")
        elif kinds:
            parts.append("The self-test of the release did not measure this.")
        if "fixed_by" in entry:
            parts.append(f"Fixed by {entry['fixed_by']}.")
        parts.append(entry["advice"])
        objection = state != "doubtful"
        found.append(
            {
                "id": entry["id"],
                "effect": entry["effect"],
                "state": state,
                "objection": objection,
                "types": sorted(kinds),
                "errors": {kind: measured[kind]["error"] for kind in kinds if kind in measured},
                "text": " ".join(parts),
            }
        )

    explained: set[str] = set()
    for entry in of_release(entries, release):
        if "model_architectures" in entry and model_architecture not in entry["model_architectures"]:
            continue
        if parallel < entry.get("parallel", 1):
            continue
        if "tensor_types" not in entry:
            add("known", entry, [])
            continue
        concerned = [kind for kind in counts if kind in entry["tensor_types"]]
        explained.update(concerned)
        groups: dict[str, list[str]] = {"measured": [], "known": [], "doubtful": []}
        for kind in concerned:
            groups["known" if kind not in measured else "measured" if kind in bad else "doubtful"].append(kind)
        for state, kinds in groups.items():
            if kinds:
                add(state, entry, kinds)
    unexplained = [kind for kind in bad if kind not in explained]
    if unexplained:
        add("measured", UNEXPLAINED, unexplained)
    order = ("measured", "known", "doubtful")
    return sorted(found, key=lambda item: order.index(item["state"]))


# For a type that is off although nothing is known about it.
UNEXPLAINED = {
    "id": "self-test",
    "effect": "precision",
    "title": "Tensors are computed wrongly on this host",
    "happens": "Generation differs from prompt processing by more than rounding, and no known hazard explains it.",
    "advice": "Use another release or another recipe, and report it to the engine's authors.",
}


def tensors(kinds: Iterable[str], counts: Mapping[str, int]) -> str:
    """Return ``q8_0 (52 tensors), q4_0 (1 tensor)``, in the order of the number."""
    ordered = sorted(kinds, key=lambda kind: (-counts[kind], kind))
    return ", ".join(f"{kind} ({counts[kind]} tensor{'s' if counts[kind] > 1 else ''})" for kind in ordered)
