"""What calibration measured, one typed value for each quantization site, and how it is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.arrays import read_arrays
from xopt.artifacts import Ranges
from xopt.calibrate.quantized import Affine, QuantizedLinear, round_to_nearest
from xopt.errors import ArtifactError
from xopt.forms import Exactly, Table, in_words, misfit
from xopt.reading import parse_json

__all__ = ["LEAST", "Site", "read_sites", "write_sites"]

Array = NDArray[np.float32]

# Files of the stored ranges: numbers, and arrays named `SITE.FIELD`.
NUMBERS, ARRAYS = "sites.json", "sites.npz"
REACHES = ("amax", "moved", "centered", "smoothed")
IN_NUMBERS = (*REACHES, "largest", "limits")
FORM = Table({"amax": float, "moved?": float, "centered?": float, "smoothed?": float,
              "largest?": float, "limits?": Exactly(2, float)})  # fmt: skip
# Steps of a range, and one over them, stay within the normal numbers of fp32.
LEAST, MOST = (float(2.0**power) for power in (-110, 120))
IN_ROUNDED = ("values", "scales", "correction")


@dataclass(frozen=True)
class Site:
    """A value that may be quantized, as the sample showed it.

    Every range is symmetric, ``[-range, range]``, and of the value behind ``divisor``.

    Attributes:
        name: such as ``layers.0.qkv_in``.
        amax: the range; of keys and values without their ``middle``, as attention is quantized.
        moved: of what a linear layer reads, without its ``middle``.
        centered: of the context, without the mean of the values.
        smoothed: of the values, behind the divisor of their context.
        largest: of the value as it is, nothing divided or cut off; without its sign.
        limits: lowest and highest value that unsigned numbers cover; of what a linear layer reads.
        middle: ``[channels]``: of keys and values their mean, of what a linear layer reads the
            middle between a channel's ends.
        divisor: ``[channels]``, SmoothQuant's; None for none.
        rounded: the weights of the linear layers that read it, one below the other; None where the
            recipe leaves them to the lowering.
    """

    name: str
    amax: float
    moved: float | None = None
    centered: float | None = None
    smoothed: float | None = None
    largest: float | None = None
    limits: tuple[float, float] | None = None
    middle: Array | None = None
    divisor: Array | None = None
    rounded: QuantizedLinear | None = None

    @property
    def layer(self) -> str:
        """``layers.0`` of ``layers.0.qkv_in``."""
        return self.name.rpartition(".")[0]

    @property
    def kind(self) -> str:
        """``qkv_in`` of ``layers.0.qkv_in``."""
        return self.name.rpartition(".")[2]

    def reach(self, attention: bool, *, moved: bool = False) -> float:
        """The range that signed numbers cover.

        Args:
            attention: whether it is quantized too, and the values have lost their mean.
            moved: whether the lowering takes the middle from what linear layers read.
        """
        found = self.amax
        if self.kind == "context":
            found = self.centered if attention and self.centered is not None else found
        elif moved and self.moved is not None:
            found = self.moved
        return found

    @property
    def affine(self) -> Affine:
        """How it becomes unsigned numbers, where a linear layer reads it."""
        assert self.limits is not None
        assert self.middle is not None
        # What an activation gives is not moved: nothing before it could take the middle for free.
        middle = np.zeros_like(self.middle) if self.kind == "ffn_act" else self.middle
        divisor = np.ones_like(middle) if self.divisor is None else self.divisor
        return Affine.over(*self.limits, divisor, middle)

    def linear(
        self, weight: Array, rows: slice = slice(None), pair_sum: int = 0
    ) -> QuantizedLinear:
        """A linear layer that reads it as unsigned numbers.

        Args:
            weight: ``[out, in]``.
            rows: where it lies among all layers that read the site, one below the other.
            pair_sum: as in :func:`~xopt.calibrate.quantized.row_scales`, where the recipe left the
                weight to the lowering.
        """
        if self.rounded is None:
            return round_to_nearest(weight, self.affine, pair_sum)
        return self.rounded.rows(rows)


def write_sites(sites: Iterable[Site], folder: Path) -> None:
    """Store them in ``folder``."""
    numbers: dict[str, dict[str, Any]] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for site in sites:
        stored = {name: getattr(site, name) for name in IN_NUMBERS}
        numbers[site.name] = {name: value for name, value in stored.items() if value is not None}
        found = {"middle": site.middle, "divisor": site.divisor}
        if site.rounded is not None:
            found |= {name: getattr(site.rounded, name) for name in IN_ROUNDED}
        arrays |= {f"{site.name}.{k}": v for k, v in found.items() if v is not None}
    (folder / NUMBERS).write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    np.savez(folder / ARRAYS, **arrays)  # type: ignore[arg-type]


def read_sites(ranges: Ranges) -> dict[str, Site]:
    """Name -> site, in the order in which the encoder computes them.

    Raises:
        ArtifactError: another version of xopt wrote them, or they are damaged.
    """
    try:
        numbers = parse_json((ranges.folder / NUMBERS).read_bytes())
        if wrong := misfit(numbers, FORM):
            raise ValueError(wrong)
        arrays = read_arrays(ranges.folder / ARRAYS)
        for name, array in arrays.items():
            if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
                raise ValueError(f"{name} holds what is no number")
            if name.endswith(".divisor") and not (array > 0).all():
                raise ValueError(f"{name} holds what nothing can be divided by")
        for name, found in numbers.items():
            for key in REACHES:
                if key in found and not LEAST <= found[key] <= MOST:
                    raise ValueError(f"{name}.{key} is {found[key]:.3g}, no range")
        return {name: _site(name, dict(found), arrays) for name, found in numbers.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ArtifactError(
            f"{ranges.folder} holds no ranges that this xopt reads: {in_words(error)}.",
            hint="Calibrate again: xopt calibrate CORPUS -o DIR",
        ) from error


def _site(name: str, numbers: dict[str, Any], arrays: dict[str, Array]) -> Site:
    limits = numbers.pop("limits", None)
    site = Site(
        name,
        **numbers,
        limits=None if limits is None else tuple(limits),
        middle=arrays.get(f"{name}.middle"),
        divisor=arrays.get(f"{name}.divisor"),
    )
    if f"{name}.values" not in arrays:
        return site
    rounded: Any = {part: arrays[f"{name}.{part}"] for part in IN_ROUNDED}
    return replace(site, rounded=QuantizedLinear(site.affine, **rounded))
