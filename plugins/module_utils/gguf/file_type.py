"""What llama-quantize makes of tensors by itself, for a file type like ``Q4_K_M``, where no option decides.

Source of the choices: ``llama_tensor_get_type`` in ``src/llama-quantize.cpp`` of ik_llama.cpp as of April 2026 (the
source in ``ik-llama-cpp-python`` 0.1.5), for models with eight or more experts. They depend on the order of the tensors
in the file, for the engine counts them. Models of other kinds, and interleaved file types, are not covered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Tensor

# File types whose name is not simply that of their tensor type.
BASE_TYPES = {
    "IQ2_S": "iq2_xs",
    "IQ2_M": "iq2_s",
    "IQ3_XS": "iq3_s",
    "IQ3_M": "iq3_s",
    "IQ3_KL": "iq3_k",
    "Q2_K_S": "q2_K",
    "Q3_K_S": "q3_K",
    "Q3_K_M": "q3_K",
    "Q3_K_L": "q3_K",
    "Q4_K_S": "q4_K",
    "Q4_K_M": "q4_K",
    "Q5_K_S": "q5_K",
    "Q5_K_M": "q5_K",
}

# Of these the engine looks at no --attn-*-type option but the one for the output projection, and of IQ2_KT at none.
ONLY_OUTPUT = frozenset(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ2_KS"))
NO_OPTION = frozenset(("IQ2_KT",))

FEWEST_EXPERTS = 8


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


_OUTPUT_Q5 = _set(
    "IQ1_S IQ1_M IQ1_KT IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ2_K IQ2_KS IQ2_KL IQ2_KT IQ3_XXS IQ3_K IQ3_KS IQ3_KT"
)
_TIED_OUTPUT_IQ5 = _set("IQ3_S IQ3_M IQ3_KL IQ4_XS IQ4_KS IQ4_KSS")
_OUTPUT_KEPT = _set("q8_0 iq6_k q8_KV")
_EMBEDDING = {
    **dict.fromkeys(_set("IQ1_S IQ1_M IQ2_XXS IQ2_XS"), "q2_K"),
    **dict.fromkeys(_set("IQ2_S IQ2_M IQ3_XXS IQ3_KT"), "iq3_s"),
    **dict.fromkeys(_set("IQ1_BN IQ2_BN"), "iq4_nl"),
}
_ATTENTION_OUTPUT_Q5 = _set(
    "Q2_K Q3_K_S Q3_K_M Q4_K_S Q4_K_M IQ2_K IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ3_K IQ3_KS IQ3_KL IQ3_KT"
    " IQ4_NL IQ4_XS IQ4_K IQ4_KS IQ4_KSS IQ5_KS"
)


class OwnChoice:
    """The engine's choices for one file, tensor by tensor in the file's order.

    Args:
        base: the file type, in capitals.
        default: the tensor type that goes with it.
        layers: the model's ``block_count``.
        has_output: whether there is a tensor ``output.weight``; without one the embedding counts as it.
        has_imatrix: whether the engine is given an importance matrix.
    """

    def __init__(self, base: str, default: str, layers: int, has_output: bool, has_imatrix: bool) -> None:
        self.base = base
        self.default = default
        self.layers = layers
        self.has_output = has_output
        self.has_imatrix = has_imatrix
        self._downs = 0  # of tensors called ffn_down that came before

    def __call__(self, tensor: Tensor) -> str:
        """The type for the next tensor; only those that are quantized at all may be asked for."""
        name = tensor.name
        if name == "output.weight" or (name == "token_embd.weight" and not self.has_output):
            return self._output(tensor)
        if name == "token_embd.weight":
            return _EMBEDDING.get(self.base, self.default)
        down = "ffn_down" in name
        before = self._downs
        self._downs += down
        if self.base == "IQ2_KT":
            return self._iq2_kt(name, down)
        if self.base in ONLY_OUTPUT:
            return self._low(name, down, before)
        if "attn_v.weight" in name or "attn_k" in name:
            return "q8_0"
        if "attn_q" in name:
            return {"IQ3_XS": "iq3_xxs", "IQ3_XXS": "iq2_s"}.get(self.base, self.default)
        if down:
            return self._down(_layer(name))
        if "attn_output.weight" in name:
            if self.base == "IQ2_KL":
                return "iq4_ks"
            return "q5_K" if self.base in _ATTENTION_OUTPUT_Q5 else self.default
        if "ffn_gate" in name or "ffn_up" in name:
            layer = _layer(name)
            if self.base == "IQ3_XS" and self.layers // 8 <= layer < 7 * self.layers // 8:
                return "iq3_xxs"
            if self.base == "IQ3_KL" and self._more_bits(layer):
                return "iq4_ks"
        return self.default

    def _output(self, tensor: Tensor) -> str:
        if tensor.shape[0] % 256:
            return "q8_0"
        if self.base in _OUTPUT_Q5:
            return "q5_K" if self.has_output else "iq4_k"
        if self.base in _TIED_OUTPUT_IQ5 and not self.has_output:
            return "iq5_k"
        return self.default if self.default in _OUTPUT_KEPT else "q6_K"

    def _low(self, name: str, down: bool, before: int) -> str:
        if "attn_v.weight" in name:
            return "iq4_k"
        if "attn_k" in name or "attn_q" in name:
            return "q4_K"
        if down and before < self.layers // 8:
            return "iq3_s" if self.base in ("IQ2_S", "IQ2_M") else "q2_K"
        return "q5_K" if "attn_output.weight" in name else self.default

    def _iq2_kt(self, name: str, down: bool) -> str:
        if "attn_v.weight" in name:
            return "iq4_k"
        if "attn_k" in name or "attn_q" in name:
            return "q4_K"
        if re.search(r"blk\.0\.ffn_(down|gate|up)", name):
            return "iq3_k"
        if "_shexp.weight" in name:
            return "iq4_k"
        if down and _layer(name) < self.layers // 8:
            return "iq3_k"
        return "q5_K" if "attn_output.weight" in name else self.default

    def _down(self, layer: int) -> str:
        base, first = self.base, layer < self.layers // 8
        if base == "Q2_K":
            return "q3_K"
        if base == "Q3_K_M":
            return "q5_K" if layer < self.layers // 16 else "q4_K"
        if base == "Q3_K_L":
            return "q5_K"
        if base == "IQ3_KL":
            return "iq4_ks" if self._more_bits(layer) else "iq3_k"
        if base in ("Q4_K_M", "Q5_K_M", "IQ3_M") and self._more_bits(layer):
            return "iq4_k" if base == "IQ3_M" else "q6_K"
        if base in ("IQ3_XXS", "IQ3_KT") and not self.has_imatrix:
            better, good = ("q4_K", "q3_K") if base == "IQ3_XXS" else ("iq4_k", "iq3_k")
            return better if first else good
        if first:
            if base in ("Q2_K_S", "Q4_K_S"):
                return "q4_K" if base == "Q2_K_S" else "q5_K"
            if base in ("IQ4_NL", "IQ4_XS", "IQ4_KS", "IQ4_KSS") and not self.has_imatrix:
                return "q5_K"
            if base in ("Q4_0", "Q5_0") and self.has_imatrix:
                return "q4_1" if base == "Q4_0" else "q5_1"
        return self.default

    def _more_bits(self, layer: int) -> bool:
        eighth = self.layers // 8
        return layer < eighth or layer >= 7 * self.layers // 8 or (layer - eighth) % 3 == 2


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found.group(1)) if found else 0


def own_choices(
    base: str, default: str, tensors: Iterable[Tensor], layers: int, has_output: bool, has_imatrix: bool
) -> dict[str, str]:
    """Tensor to type, for those ``tensors`` of a file (in its order) that are quantized."""
    choice = OwnChoice(base, default, layers, has_output, has_imatrix)
    return {tensor.name: choice(tensor) for tensor in tensors}
