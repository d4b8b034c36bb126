"""Weights rounded so that the products keep their values, and the means that rounding moves.

GPTQ (Frantar et al., 2023): a column is rounded to the nearest step, and what that changes of the
layer's output is taken back by the columns that are not rounded yet, through the second moments of
the inputs as the engine sees them, rounded too. What is left of the mean goes into the bias (Nagel
et al., 2019), which then also takes back the middle that was taken from each channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Affine",
    "Moments",
    "RoundedLayer",
    "in_groups",
    "inverse_factor",
    "round_columns",
    "round_layer",
    "round_sites",
    "row_scales",
]

Array = NDArray[np.float32]

# Columns whose corrections are gathered before they reach the columns behind them.
BLOCK = 128
# Added to the moments' diagonal, as a share of its mean (Frantar et al., 2023).
DAMP = 0.01
# Second moments that are held at once, in bytes.
MOMENTS_BYTES = 1 << 30


@dataclass(frozen=True)
class Affine:
    """How a site becomes 8-bit numbers: ``q = round((x - middle) / divisor / step) + zero``.

    Attributes:
        step: of the 8-bit numbers.
        zero: the number that stands for 0, 0 to 255.
        divisor: ``[in]``, SmoothQuant's.
        middle: ``[in]``.
    """

    step: float
    zero: int
    divisor: Array
    middle: Array

    @classmethod
    def over(cls, low: float, high: float, divisor: Array, middle: Array) -> Affine:
        """The 256 steps that cover ``[low, high]``, widened to hold 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / 255 or 1.0
        return cls(step, round(-low / step), divisor, middle)


class Moments:
    """What a linear layer's inputs are on average, before and after they are rounded.

    Args:
        affine: how they are rounded.
        second: whether the second moments are kept.
    """

    def __init__(self, affine: Affine, *, second: bool = True) -> None:
        import torch

        self.affine, self.second = affine, second
        self._divide = torch.from_numpy(1 / affine.divisor / np.float32(affine.step))
        self._middle = torch.from_numpy(affine.middle)
        self.tokens = 0
        width = len(affine.divisor)
        self._sum = torch.zeros(width, dtype=torch.float64)
        self._rounded_sum = torch.zeros(width, dtype=torch.float64)
        self._products: Any = torch.zeros(width, width) if second else None

    def collect(self, values: Any) -> None:
        """Take note of ``[T, in]``."""
        zero = self.affine.zero
        rounded = ((values - self._middle) * self._divide).round_().add_(zero).clamp_(0, 255) - zero
        self.tokens += len(values)
        self._sum += values.double().sum(dim=0)
        self._rounded_sum += rounded.double().sum(dim=0)
        if self.second:
            self._products.addmm_(rounded.T, rounded)

    @property
    def mean(self) -> Array:
        """``[in]``, of the inputs."""
        return (self._sum / self.tokens).numpy().astype(np.float32)

    @property
    def rounded_mean(self) -> Array:
        """``[in]``, of what the product reads: behind middle, divisor and rounding."""
        mean = self._rounded_sum.numpy() / self.tokens * self.affine.step
        return np.asarray(mean, np.float32)

    @property
    def products(self) -> Array:
        """``[in, in]``, second moments of what the product reads, in steps."""
        found: Array = self._products.numpy() / np.float32(self.tokens)
        return found


@dataclass(frozen=True)
class RoundedLayer:
    """A linear layer behind a site that is rounded by :class:`Affine`.

    Attributes:
        values: ``[out, in]`` int8.
        scales: ``[out]``; ``values · scales`` is the weight times the divisor.
        correction: ``[out]``, added to the bias: the mean of the exact product without the bias,
            less that of the rounded one.
    """

    values: NDArray[np.int8]
    scales: Array
    correction: Array


def round_layer(
    weight: Array, moments: Moments, levels: int = 127, pair_sum: int = 0
) -> RoundedLayer:
    """Round ``[out, in]`` for the inputs that ``moments`` saw."""
    smoothed = weight * moments.affine.divisor[None, :]
    values, scales = round_columns(smoothed, moments.products, levels=levels, pair_sum=pair_sum)
    exact = weight.astype(np.float64) @ moments.mean
    rounded = (values.astype(np.float64) @ moments.rounded_mean) * scales
    return RoundedLayer(values, scales, (exact - rounded).astype(np.float32))


def row_scales(weight: NDArray[Any], *, levels: int = 127, pair_sum: int = 0) -> Array:
    """The step of each row of ``[out, in]``, the smallest that no weight or pair oversteps.

    Args:
        weight: ``[out, in]``.
        levels: steps on one side of zero.
        pair_sum: as in :func:`round_columns`.
    """
    scales = np.abs(weight).max(axis=1) / np.float32(levels)
    if pair_sum:
        for sign in (1, -1):
            side = np.maximum(sign * weight, 0)
            even = side[:, 0 : side.shape[1] // 2 * 2 : 2]
            pairs = (even + side[:, 1::2]).max(axis=1, initial=0)
            # Each of the two may be rounded up by half a step.
            scales = np.maximum(scales, pairs / np.float32(pair_sum - 1))
    scales[scales == 0] = 1
    return np.asarray(scales, np.float32)


def round_columns(
    weight: Array, products: Array, *, levels: int = 127, pair_sum: int = 0
) -> tuple[NDArray[np.int8], Array]:
    """GPTQ with one scale per row; columns of the largest inputs come first.

    Args:
        weight: ``[out, in]``.
        products: ``[in, in]``, second moments of the inputs, in any unit.
        levels: steps on one side of zero.
        pair_sum: most that the columns 2k and 2k + 1 of a row may sum to where they have one sign;
            0 for no bound.

    Returns:
        ``[out, in]`` int8 within ±levels and ``[out]``, ``weight ≈ int8 · scale``.
    """
    width = weight.shape[1]
    scales = row_scales(weight, levels=levels, pair_sum=pair_sum)
    diagonal = products.diagonal().astype(np.float64)
    order = np.argsort(-diagonal, kind="stable")
    moments = products[order][:, order].astype(np.float64)
    # A channel that never fires needs no company; the damping keeps the rest invertible.
    moments[np.diag_indices(width)] += DAMP * diagonal.mean() or 1.0
    factor = inverse_factor(moments)
    left = weight[:, order] / scales[:, None]
    rounded = np.empty_like(left)
    place = np.argsort(order)
    for start in range(0, width, BLOCK):
        stop = min(start + BLOCK, width)
        part, square = left[:, start:stop], factor[start:stop, start:stop]
        errors = np.empty_like(part)
        for column in range(stop - start):
            low, high = np.float32(-levels), np.float32(levels)
            mate = order[start + column] ^ 1
            if pair_sum and mate < width and place[mate] < start + column:
                taken = rounded[:, place[mate]]
                high = np.minimum(high, pair_sum - np.maximum(taken, 0))
                low = np.maximum(low, -pair_sum - np.minimum(taken, 0))
            nearest = np.clip(np.rint(part[:, column]), low, high)
            rounded[:, start + column] = nearest
            errors[:, column] = (part[:, column] - nearest) / square[column, column]
            part[:, column:] -= np.outer(errors[:, column], square[column, column:])
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    values = np.empty(weight.shape, np.int8)
    values[:, order] = rounded
    return values, scales.astype(np.float32)


def inverse_factor(moments: NDArray[np.float64]) -> Array:
    """The upper U with ``Uᵀ U = moments⁻¹``, without the inverse itself.

    Read backwards, the lower factor of ``moments`` is an upper V with ``V Vᵀ = moments``; U is its
    inverse. A third of the work of inverting and factoring.
    """
    import torch

    backwards = torch.from_numpy(moments[::-1, ::-1].copy())
    upper = torch.linalg.cholesky(backwards).flip(0, 1)
    one = torch.eye(len(moments), dtype=torch.float64)
    found: Array = torch.linalg.solve_triangular(upper, one, upper=True).float().numpy()
    return found


def in_groups(affine: Mapping[str, Affine]) -> Iterator[list[str]]:
    """Sites whose second moments fit into memory together."""
    group: list[str] = []
    held = 0
    for site, how in affine.items():
        size = 4 * len(how.divisor) ** 2
        if group and held + size > MOMENTS_BYTES:
            yield group
            group, held = [], 0
        group.append(site)
        held += size
    if group:
        yield group


def round_sites(
    affine: Mapping[str, Affine],
    weights: Callable[[str], Array],
    watch_all: Callable[[Callable[[str, Any], None]], None],
    levels: int,
    pair_sum: int = 0,
) -> dict[str, RoundedLayer]:
    """Every site's layer.

    Args:
        affine: how each site is rounded.
        weights: ``site -> [out, in]``.
        watch_all: runs the sample and calls what it is given at every site.
        levels: steps of a weight on one side of zero.
        pair_sum: as in :func:`round_columns`.
    """
    found: dict[str, RoundedLayer] = {}
    for group in in_groups(affine):
        moments = {site: Moments(affine[site]) for site in group}

        def watch(site: str, values: Any, moments: Mapping[str, Moments] = moments) -> None:
            if site in moments:
                moments[site].collect(values)

        watch_all(watch)
        for site in list(moments):
            found[site] = round_layer(weights(site), moments.pop(site), levels, pair_sum)
    return found
