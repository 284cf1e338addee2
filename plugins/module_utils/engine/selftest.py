"""What an engine release must answer in its self-test, and how far generation may be from prompt processing.

What was measured (module ``engine_selftest`` with all types of BLOCKS; engine of April 2026, GCC 12.2; the error is
that of generation relative to prompt processing):

========================================= ================ ================ ===================================
types                                     x86-64, AVX2     x86-64, AVX-512  aarch64, Cortex-A76, in QEMU 10
========================================= ================ ================ ===================================
q4_0 q5_0 q6_0 q8_0 iq4_nl mxfp4          < 0.00001        < 0.00001        **0.80 to 0.97** (q8_0 0.92)
q4_1 q5_1                                 < 0.00001        < 0.00001        **1.21 to 1.57**
these, with the product of scales in f32  (is so)          (is so)          < 0.00001
K-quants                                  0.003 to 0.021   0.003 to 0.021   0.002 to 0.021
IQ and IQK types                          0.015 to 0.040   0.015 to 0.030   0.013 to 0.025
========================================= ================ ================ ===================================

So LIMIT is 0.15: four times the worst of the sound, a fifth of the least of the unsound. An exact computation says who
is wrong: generation is off by 0.92 (q8_0), prompt processing by 0.016; sound ones are off by 0.01 to 0.035. With larger
scales in the place of 2e-5 the error of q8_0 is 0.34 (5e-5), 0.19 (1e-4), 0.10 (2e-4), 0.04 (5e-4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.engine.selftest_models import Probe, word

# A difference that is not a number, or has nothing to be compared with, counts as this.
MAX_ERROR = 1000.0
LIMIT = 0.15  # see above


class SelfTestError(Exception):
    """The engine did not answer as every sound engine does; the text says what it did, ``code`` is one word for it."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


def logits(reply: Mapping[str, Any], at: int, plan: Probe) -> dict[int, float]:
    """Each token's logit at place ``at`` of an answer of ``/completion``.

    The probabilities are in f32, and those before sampling. The engine writes them as ``probs`` of ``tok_str`` and
    ``prob`` (``probs_vector_to_json`` in ``examples/server/server-common.cpp``), and has the newer form of llama.cpp,
    ``top_logprobs`` of ``token`` and ``logprob``, in reserve: both are read. Raises SelfTestError where
    neither is there.
    """
    numbers = {word(token): token for token in range(plan.silent + 1)}
    found: dict[int, float] = {}
    try:
        place = reply["completion_probabilities"][at]
        for entry in place.get("top_logprobs", place.get("probs")):
            token = numbers.get(entry.get("token", entry.get("tok_str")))
            if token is not None:
                found[token] = entry["logprob"] if "logprob" in entry else math.log(entry["prob"])
        silent = found[plan.silent]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SelfTestError(
            f"/completion answered without the probabilities asked for ({error!r})", "probabilities"
        ) from error
    return {token: value - silent for token, value in found.items()}


def errors(pairs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]], plan: Probe) -> dict[str, float]:
    """For each type the root mean square of generation less prompt processing, relative to prompt processing.

    ``pairs``: logits by token of the same place, from generation and from prompt processing.
    """
    found = {}
    for kind, tokens in plan.tokens.items():
        values = [(one.get(token, math.nan), many.get(token, math.nan)) for one, many in pairs for token in tokens]
        square = sum((a - b) ** 2 for a, b in values)
        signal = sum(b * b for _generated, b in values)
        error = math.sqrt(square / signal) if signal > 0 and math.isfinite(square / signal) else MAX_ERROR
        found[kind] = min(error, MAX_ERROR)
    return found
