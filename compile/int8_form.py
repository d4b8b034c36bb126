"""Which 8-bit numbers a build makes, and for which of them a checkpoint was tuned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xopt.compile.recipes import Lowering

__all__ = ["FORMS", "Int8Form", "form_of_build", "tell_other_form", "tuned_form"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8Form:
    """One way of rounding an encoder to 8 bits.

    TensorRT and TensorRT-RTX round alike, with either form of attention.

    Attributes:
        options: of ``xopt build`` that make it.
        attention: whether q, k, v and the probabilities are in 8 bits too.
    """

    options: str
    attention: bool = False

    def __str__(self) -> str:
        """As it stands in messages."""
        if "tensorrt" not in self.options:
            return self.options
        return f"{self.options} with attention in {'INT8' if self.attention else 'fp16'}"


# By the name that training.json holds.
FORMS = {
    "cpu-vnni": Int8Form("--target cpu --cpu vnni"),
    "cpu-any": Int8Form("--target cpu --cpu any"),
    "cuda": Int8Form("--target cuda"),
    "cuda-attention": Int8Form("--target cuda --precision int8-attention", attention=True),
    "tensorrt": Int8Form("--target tensorrt or tensorrt-rtx"),
    "tensorrt-attention": Int8Form("--target tensorrt or tensorrt-rtx", attention=True),
}


def form_of_build(lowering: Lowering) -> str | None:
    """The name in :data:`FORMS` of what a lowering makes; None where nothing is in 8 bits."""
    if lowering.activations == "none":
        return None
    if lowering.activations == "uint8":
        return "cpu-any" if lowering.pair_sum else "cpu-vnni"
    kind = "cuda" if lowering.form == "kernels" else "tensorrt"
    return f"{kind}-attention" if lowering.attention else kind


def tuned_form(training: Mapping[str, Any] | None) -> str | None:
    """The form that quantization-aware tuning simulated; None for a checkpoint without it.

    A checkpoint that does not say it is from when there was one form: numbers for VNNI.
    """
    if training is None or training["phase"] != "qat":
        return None
    recipe = training.get("recipe")
    found = recipe.get("form") if isinstance(recipe, Mapping) else None
    return found if isinstance(found, str) and found in FORMS else "cpu-vnni"


def tell_other_form(training: Mapping[str, Any] | None, lowering: Lowering) -> None:
    """Warn, in one line, of a build in another form than the checkpoint was tuned for."""
    tuned, built = tuned_form(training), form_of_build(lowering)
    if tuned is not None and built is not None and tuned != built:
        log.warning(
            "Quantization-aware tuning was for %s, and this build is for %s: its numbers are "
            "rounded to other steps than the weights were tuned for.",
            FORMS[tuned], FORMS[built],
        )  # fmt: skip
