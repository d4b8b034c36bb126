"""Fake quantizers: what rounds, with the gradient passing straight through.

Each rounds by the numbers of the build for one form (:data:`xopt.compile.int8_form.FORMS`). The
gradient passes where nothing is cut off (Bengio et al., 2013).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xopt.calibrate.quantized import Affine

__all__ = ["AffineQuantizer", "RowQuantizer", "SignedQuantizer", "WeightQuantizer"]


class AffineQuantizer(nn.Module):
    """Rounds a linear layer's input to unsigned numbers with a zero point, and takes it back."""

    divisor: Tensor
    middle: Tensor

    def __init__(self, how: Affine) -> None:
        super().__init__()
        self.step, self.zero = how.step, how.zero
        self.register_buffer("divisor", torch.from_numpy(how.divisor.copy()))
        self.register_buffer("middle", torch.from_numpy(how.middle.copy()))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` -> ``[..., in]``."""
        moved = (x - self.middle) / self.divisor
        rounded = torch.fake_quantize_per_tensor_affine(moved, self.step, self.zero, 0, 255)
        return rounded * self.divisor + self.middle


class SignedQuantizer(nn.Module):
    """Rounds ``x · factor - middle`` to signed numbers, -128 to 127, and takes it back.

    Args:
        steps: ``[channels]``, or one number.
        factor: ``[channels]``, or one number.
        middle: ``[channels]``, or one number.
    """

    steps: Tensor
    factor: Tensor
    middle: Tensor

    def __init__(self, steps: Any, factor: Any = 1.0, middle: Any = 0.0) -> None:
        super().__init__()
        for name, value in (("steps", steps), ("factor", factor), ("middle", middle)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def codes(self, x: Tensor) -> Tensor:
        """The whole numbers, ``[..., channels]`` as ``x``."""
        return self._cut(x).div(self.steps).round()

    def moved(self, x: Tensor) -> Tensor:
        """Rounded, and not taken back."""
        rounded: Tensor = _Round.apply(self._cut(x), self.steps)  # type: ignore[no-untyped-call]
        return rounded

    def forward(self, x: Tensor) -> Tensor:
        """``[..., channels]`` -> the same."""
        return (self.moved(x) + self.middle) / self.factor

    def _cut(self, x: Tensor) -> Tensor:
        ends = -128 * self.steps, 127 * self.steps
        return (x * self.factor - self.middle).clamp(*ends)


class RowQuantizer(nn.Module):
    """Rounds each row of a weight or a table to the steps that it has at the moment.

    The numbers are those of :func:`xopt.calibrate.quantized.quantize_rows`, by which the build
    rounds. No value oversteps its row's range, so the whole gradient passes.

    Args:
        pair_sum: as in :func:`~xopt.calibrate.quantized.row_scales`.
    """

    def __init__(self, pair_sum: int = 0) -> None:
        super().__init__()
        self.pair_sum = pair_sum

    def steps(self, rows: Tensor) -> Tensor:
        """``[rows, 1]`` of ``[rows, columns]``."""
        rows = rows.detach()
        steps = rows.abs().amax(dim=1, keepdim=True) / 127
        if self.pair_sum:
            for side in (rows.clamp_min(0), (-rows).clamp_min(0)):
                even = side[:, 0 : side.shape[1] // 2 * 2 : 2]
                pairs = (even + side[:, 1::2]).amax(dim=1, keepdim=True)
                # Each of the two may be rounded up by half a step.
                steps = torch.maximum(steps, pairs / (self.pair_sum - 1))
        steps[steps == 0] = 1
        return steps

    def forward(self, rows: Tensor) -> Tensor:
        """``[rows, columns]`` -> the same."""
        rounded: Tensor = _Round.apply(rows, self.steps(rows))  # type: ignore[no-untyped-call]
        return rounded


class _Round(torch.autograd.Function):
    """To whole steps; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, steps: Tensor) -> Tensor:
        return (rows / steps).round() * steps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None


class WeightQuantizer(nn.Module):
    """Rounds a weight ``[out, in]``, each column and each row of it scaled first.

    Args:
        columns: ``[in]``: the divisor of what the layer reads.
        inverse: whether ``columns`` is one over it instead.
        rows: ``[out]``: what the layer's outputs are multiplied by.
        pair_sum: as in :class:`RowQuantizer`.
    """

    columns: Tensor
    rows: Tensor

    def __init__(
        self, columns: Any, *, inverse: bool = False, rows: Any = 1.0, pair_sum: int = 0
    ) -> None:
        super().__init__()
        self.quantizer = RowQuantizer(pair_sum)
        self.inverse = inverse
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.float32))
        rows = torch.tensor(rows, dtype=torch.float32)
        self.register_buffer("rows", rows.reshape(-1, 1))

    def scaled(self, weight: Tensor) -> Tensor:
        """``[out, in]``, whose rows are rounded."""
        found = weight / self.columns if self.inverse else weight * self.columns
        return found * self.rows

    def forward(self, weight: Tensor) -> Tensor:
        """``[out, in]`` -> ``[out, in]``."""
        rounded: Tensor = self.quantizer(self.scaled(weight)) / self.rows
        return rounded * self.columns if self.inverse else rounded / self.columns
