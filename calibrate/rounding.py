"""Weights rounded so that the products keep their values, and the means that rounding moves.

GPTQ (Frantar et al., 2023): a column is rounded to the nearest step, and what that changes of the
layer's output is taken back by the columns that are not rounded yet, through the second moments of
the inputs as the engine sees them, rounded too. Each column takes up what those before it left when
its turn comes, as in Babai's nearest plane: the same numbers, and the moments need no inverse. What
is left of the mean goes into the bias (Nagel
et al., 2019), which then also takes back the middle that was taken from each channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.quantized import Affine, QuantizedLinear, row_scales
from xopt.host import int8_instructions

__all__ = ["Moments", "factor_of", "round_columns", "round_layer"]

Array = NDArray[np.float32]

# Columns that take up in one product what all before them left.
BLOCK = 128
# Added to the moments' diagonal, as a share of its mean. Frantar et al. (2023) take 0.01; ten times
# that keeps weights from leaning on what few texts showed together.
DAMP = 0.1
# Columns of second moments that are multiplied together.
STRIP = 1024
# So many squares of 8-bit numbers fit into 32 bits.
MOST_TOKENS = (2**31 - 1) // 128**2
# Where CPUs multiply 8-bit numbers without cutting sums off, by the names of :mod:`xopt.host`.
EXACT = ("AMX", "AVX-512 VNNI", "AVX VNNI")


class Moments:
    """What a linear layer's inputs are on average, before and after they are rounded.

    Args:
        affine: how they are rounded.
        exact: multiply 8-bit numbers, in a fifth of the time that fp32 takes; where the CPU can, by
            default.
    """

    def __init__(self, affine: Affine, *, exact: bool | None = None) -> None:
        import torch

        self.affine = affine
        self._exact = int8_instructions() in EXACT if exact is None else exact
        self._divide = torch.from_numpy(1 / affine.divisor / np.float32(affine.step))
        self._middle = torch.from_numpy(affine.middle)
        self.tokens = 0
        width = len(affine.divisor)
        self._sum = torch.zeros(width, dtype=torch.float64)
        # Of numbers that are counted from 128, so that they are signed; below the diagonal alone.
        self._rounded_sum = torch.zeros(width, dtype=torch.float64)
        kind = torch.int32 if self._exact else torch.float64
        self._products = torch.zeros(width, width, dtype=kind)

    def collect(self, values: Any) -> None:
        """Take note of ``[T, in]``."""
        import torch

        zero = self.affine.zero
        rounded = (values - self._middle).mul_(self._divide).round_()
        rounded = rounded.clamp_(-zero, 255 - zero).add_(zero - 128)
        self.tokens += len(values)
        self._sum += values.sum(dim=0, dtype=torch.float64)
        # Whole numbers, so few that fp32 holds their sum.
        self._rounded_sum += rounded.sum(dim=0)
        if self.tokens > MOST_TOKENS and self._exact:
            self._exact, self._products = False, self._products.double()
        factors = rounded.to(torch.int8) if self._exact else rounded
        columns = factors.T.contiguous()
        multiply: Any = torch.ops.aten._int_mm if self._exact else torch.mm
        for start in range(0, len(columns), STRIP):
            strip = slice(start, start + STRIP)
            self._products[start:, strip] += multiply(columns[start:], factors[:, strip])

    @property
    def mean(self) -> Array:
        """``[in]``, of the inputs."""
        return (self._sum / self.tokens).numpy().astype(np.float32)

    @property
    def rounded_mean(self) -> Array:
        """``[in]``, of what the product reads: behind middle, divisor and rounding."""
        mean = self._rounded_sum.numpy() / self.tokens + (128 - self.affine.zero)
        return np.asarray(mean * self.affine.step, np.float32)

    @property
    def products(self) -> NDArray[np.float64]:
        """``[in, in]``, second moments of what the product reads, in steps."""
        more, mean = 128 - self.affine.zero, self._rounded_sum.numpy() / self.tokens
        found: NDArray[np.float64] = self._products.numpy() / self.tokens
        for start in range(0, len(found), STRIP):
            stop = start + STRIP
            found[start:stop, stop:] = found[stop:, start:stop].T
        found += more * mean[:, None]
        found += more * mean + more**2
        return found


def round_layer(
    weight: Array, moments: Moments, levels: int = 127, pair_sum: int = 0
) -> QuantizedLinear:
    """Round ``[out, in]`` for the inputs that ``moments`` saw.

    The correction is the mean of the exact product without the bias, less the rounded one's.
    """
    smoothed = weight * moments.affine.divisor[None, :]
    values, scales = round_columns(smoothed, moments.products, levels=levels, pair_sum=pair_sum)
    exact = weight.astype(np.float64) @ moments.mean
    rounded = (values.astype(np.float64) @ moments.rounded_mean) * scales
    correction = (exact - rounded).astype(np.float32)
    return QuantizedLinear(moments.affine, values, scales, correction)


def round_columns(
    weight: Array, products: NDArray[Any], *, levels: int = 127, pair_sum: int = 0
) -> tuple[NDArray[np.int8], Array]:
    """GPTQ with one scale per row; columns of the largest inputs come first.

    Args:
        weight: ``[out, in]``.
        products: ``[in, in]``, second moments of the inputs, in any unit.
        levels: steps on one side of zero.
        pair_sum: as in :func:`~xopt.calibrate.quantized.row_scales`.

    Returns:
        ``[out, in]`` int8 within ±levels and ``[out]``, ``weight ≈ int8 · scale``.
    """
    rows, width = weight.shape
    scales = row_scales(weight, levels=levels, pair_sum=pair_sum)
    diagonal = products.diagonal().astype(np.float64)
    order = np.argsort(-diagonal, kind="stable")
    # A channel that never fires needs no company; the damping keeps the rest invertible.
    shares = factor_of(products, order, DAMP * diagonal.mean() or 1.0)
    exact = np.ascontiguousarray((weight / scales[:, None])[:, order].T, np.float32)
    rounded = np.empty((width, rows), np.float32)
    # What rounding added to the columns.
    added = np.empty((width, rows), np.float32)
    place = np.argsort(order)
    for start in range(0, width, BLOCK):
        stop = min(start + BLOCK, width)
        left = exact[start:stop] - shares[start:stop, :start] @ added[:start]
        for column in range(start, stop):
            low, high = np.float32(-levels), np.float32(levels)
            mate = order[column] ^ 1
            if pair_sum and mate < width and place[mate] < column:
                taken = rounded[place[mate]]
                high = np.minimum(high, pair_sum - np.maximum(taken, 0))
                low = np.maximum(low, -pair_sum - np.minimum(taken, 0))
            wanted = left[column - start] - shares[column, start:column] @ added[start:column]
            rounded[column] = np.clip(np.rint(wanted), low, high)
            added[column] = rounded[column] - exact[column]
    values = np.empty(weight.shape, np.int8)
    values[:, order] = rounded.T
    return values, scales.astype(np.float32)


def factor_of(products: NDArray[Any], order: NDArray[np.intp], damp: float) -> Array:
    """``[in, in]``, the unit lower L: the moments in this order are Lᵀ D L with a diagonal D.

    Row j says how much of what was added to each column before it column j takes back.

    Args:
        products: ``[in, in]``, second moments.
        order: of the columns.
        damp: added to the diagonal.
    """
    import torch

    # Read backwards, the lower factor of the moments read backwards is an upper V, V Vᵀ = moments.
    backwards = products[np.ix_(order[::-1], order[::-1])].astype(np.float64, copy=False)
    backwards[np.diag_indices(len(order))] += damp
    factor = torch.linalg.cholesky(torch.from_numpy(backwards)).float().numpy()
    found: Array = np.ascontiguousarray(factor[::-1, ::-1].T)
    found /= factor.diagonal()[::-1, None]
    return found
