"""What a precision costs at the least care: the yardstick for every answer of a lower precision.

Plain PyTorch, without anything of ours that makes INT8 better: the tables, and each product's input
and weights in the layers, are rounded, to fp16 or to 127 steps of the largest value (one step for
an input, one for each row of weights and tables). An answer of ours has other roundings of the same
size in the same places, so its error is of the same size.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.sampling import draw_sample
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.packing import PackedBatch, pack
from xopt.tokenization import Tokenizer

__all__ = [
    "ATTENTION_TOO", "EVERYWHERE", "MARGIN", "calibrated_batch", "distance", "rounding_error",
]  # fmt: skip

LEVELS = 127
# Two draws of errors of one size: an answer of a few values can have the larger one.
MARGIN = 1.5
# Where queries, keys, values and attention's context are rounded to 8 bits as well, at twice as
# many places in all; errors that know nothing of each other add in squares.
ATTENTION_TOO = MARGIN * 2**0.5
# Where every operation rounds, in TensorRT's fp16: about 30 places in a layer where here are 8.
EVERYWHERE = MARGIN * 2


def calibrated_batch(checkpoint: Checkpoint, max_tokens: int = 3000, most: int = 13) -> PackedBatch:
    """At most so many texts of the calibration's own sample of so many tokens.

    No range that was measured on them cuts a value of theirs off, which would be another error than
    rounding, of any size.
    """
    tokenizer = Tokenizer.open(checkpoint.folder / "tokenizer.json", 128)
    sample = draw_sample(load_corpus(), tokenizer, max_tokens=max_tokens)
    return pack(sample.encodings[::7][:most], first_position=checkpoint.config.first_position)


def distance(found: NDArray[Any], exact: NDArray[Any]) -> float:
    """The error's length in the answer's."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def rounding_error(
    checkpoint: Checkpoint, batch: PackedBatch, precision: str, *, probabilities: bool = False,
    sparse: bool = False,
) -> float:  # fmt: skip
    """The distance of an answer that is rounded plainly from fp32's, for ``fp16`` or ``int8``.

    ``probabilities``: whether those of attention are rounded too, as INT8 attention does.
    ``sparse``: of the weights of a sparse head, and not of the embedding beside them.
    """

    def answer(model: PackedEncoder) -> NDArray[Any]:
        with torch.inference_mode():
            found = model(model.tensors(batch))[1] if sparse else model.run(batch)
        return np.asarray(found.detach())

    exact = answer(PackedEncoder.load(checkpoint))
    model = PackedEncoder.load(checkpoint)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith("layers."):
            module.weight = nn.Parameter(_rounded(module.weight, precision, dim=1), False)
            module.register_forward_pre_hook(
                lambda _, given: (_rounded(given[0], precision, dim=None),)
            )
        elif isinstance(module, nn.Embedding):
            module.weight = nn.Parameter(_rounded(module.weight, precision, dim=1), False)
    with _RoundedSoftmax() if probabilities else nullcontext():
        return distance(answer(model), exact)


class _RoundedSoftmax(TorchFunctionMode):
    """Rounds every probability to one of 127 steps; small ones lose most of themselves."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        found = function(*arguments, **(options or {}))
        if function in (torch.softmax, torch.Tensor.softmax, nn.functional.softmax):
            return (found * LEVELS).round() / LEVELS
        return found


def _rounded(values: Tensor, precision: str, dim: int | None) -> Tensor:
    if precision == "fp16":
        return values.half().float()
    reach = values.abs().max() if dim is None else values.abs().amax(dim, keepdim=True)
    step = (reach / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
    return (values / step).round() * step
