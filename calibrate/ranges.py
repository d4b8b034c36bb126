"""The calibration run: see every site over the sample, one after the other, and store its range."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.finite import check_numbers, packed
from xopt.calibrate.observers import METHODS, MODELOPT, observer
from xopt.calibrate.rounding import Moments, round_layer
from xopt.calibrate.sampling import Sample
from xopt.calibrate.sites import LEAST, Site, write_sites
from xopt.calibrate.smooth import ROOM, STRENGTH, smoothing, with_headroom
from xopt.encoders.spec import SITES
from xopt.errors import InputError, did_you_mean
from xopt.hashing import source_digest
from xopt.host import release_memory, tool_versions
from xopt.packing import PackedBatch

__all__ = [
    "CalibrationRecipe", "Observable", "calibrate", "ranges_fingerprint",
]  # fmt: skip

# Sites whose linear layer can be smoothed.
SMOOTHED = frozenset(SITES.values())
# Sites whose mean is taken away where attention is quantized.
CENTERED = ("k", "v")


@dataclass(frozen=True)
class CalibrationRecipe:
    """How ranges are found.

    Attributes:
        method: one of ``minmax``, ``percentile``, ``entropy``, ``mse``.
        percentile: for ``percentile``.
        alpha: SmoothQuant's strength; 0 for none.
        levels: steps of a weight on one side of zero where weights are rounded by their effect
            (:mod:`xopt.calibrate.rounding`); 0 leaves the rounding to the lowering.
        pair_sum: most that two neighbouring weights of one sign may sum to; 0 for no bound.
        headroom: room behind an activation function for what the sample did not show, as a share of
            a large channel (:func:`~xopt.calibrate.smooth.with_headroom`), and half of that in the
            context of attention; 0 for none. Where there is some, α is 1 behind the activation
            function: every channel then has the steps that it needs. Before it α is three quarters.
    """

    method: str = "minmax"
    percentile: float = 99.99
    alpha: float = 0.8
    levels: int = 0
    pair_sum: int = 0
    headroom: float = 0.0

    def __post_init__(self) -> None:
        """Check every value."""
        if self.method not in METHODS:
            raise InputError(
                f"Unknown calibration method {self.method!r}.",
                hint=did_you_mean(self.method, METHODS),
            )
        if not 90 <= self.percentile <= 100:
            raise InputError(f"--percentile is {self.percentile}; possible: 90 to 100.")
        if not 0 <= self.alpha < 1:
            raise InputError(f"--smooth is {self.alpha}; possible: 0 (off) to below 1.")


class Observable(Protocol):
    """A model that shows what it computes at its quantization sites."""

    @property
    def sites(self) -> Sequence[str]:
        """All that :meth:`walk` shows, in its order."""
        ...

    def walk(self, batches: Sequence[PackedBatch], visit: Callable[[str, list[Any]], None]) -> None:
        """Run ``batches`` and call ``visit(site, values of each)`` at every site, once."""
        ...

    def weight(self, site: str) -> NDArray[np.float32]:
        """``[out, in]``: the weights of the linear layers that read ``site``."""
        ...


def ranges_fingerprint(graph: str, sample: Sample, recipe: CalibrationRecipe) -> str:
    """The fingerprint the ranges have, known before they are measured."""
    return fingerprint(
        graph, sample.fingerprint, asdict(recipe), source_digest("calibrate"),
        tool_versions("torch", *(("nvidia-modelopt",) if recipe.method in MODELOPT else ())),
    )  # fmt: skip


def calibrate(
    model: Observable,
    graph: str,
    sample: Sample,
    recipe: CalibrationRecipe,
    *,
    first_position: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Ranges:
    """Measure the range of every site over ``sample``, or take it from the cache.

    Args:
        model: runs the batches.
        graph: fingerprint of the graph the ranges belong to.
        sample: what is run.
        recipe: how ranges are found.
        first_position: of the packed batch.
        progress: called with the finished share, 0 to 1.
    """
    digest = ranges_fingerprint(graph, sample, recipe)
    cached = Ranges.find(digest)
    if cached is not None:
        return cached
    batches, rows = packed(sample, first_position)
    found = _Sites(recipe, model)
    sites = len(model.sites)
    done = 0

    def visit(site: str, parts: list[Any]) -> None:
        nonlocal done
        found.measure(site, _Seen.of(site, parts, batches, rows))
        done += 1
        progress(min(done / sites, 1.0))

    model.walk(batches, visit)
    with publish(Ranges.place(digest)) as work:
        write_sites(found.found.values(), work)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in sample.rows)
        (work / "sample.jsonl").write_text(lines, encoding="utf-8")
        facts = {"parent": graph, "recipe": asdict(recipe), "sample": sample.facts}
        write_manifest(work, Ranges.kind, digest, facts)
    return Ranges.open(Ranges.place(digest))


@dataclass(frozen=True)
class _Seen:
    """What a site shows, behind ``(x - middle) · factor``.

    Attributes:
        parts: ``[T, channels]`` of every batch.
        ends: ``[2, channels]``, the lowest and the highest value of each channel.
        middle: ``[channels]``, or one number.
        factor: ``[channels]``, above 0, or one number.
    """

    parts: list[Any]
    ends: Any
    middle: Any = 0.0
    factor: Any = 1.0

    @classmethod
    def of(
        cls,
        site: str,
        parts: list[Any],
        batches: Sequence[PackedBatch],
        rows: Sequence[Sequence[tuple[str, ...]]],
    ) -> _Seen:
        """As it is.

        Raises:
            CheckpointError: a value is no number; its text and its site are named.
        """
        import torch

        # Not aminmax: over rows it takes nine times as long as both.
        low = torch.stack([part.amin(dim=0) for part in parts]).amin(dim=0)
        high = torch.stack([part.amax(dim=0) for part in parts]).amax(dim=0)
        ends = torch.stack((low, high))
        if not ends.isfinite().all():
            for values, batch, texts in zip(parts, batches, rows, strict=True):
                check_numbers(site, values, batch, texts)
        return cls(parts, ends)

    def amax(self, recipe: CalibrationRecipe) -> float:
        """The range ``[-amax, amax]`` that the recipe's method gives it."""
        watch = observer(recipe.method, percentile=recipe.percentile)
        # Moving and scaling keep a channel's order, so its ends stay its ends.
        for values in (self.ends,) if recipe.method == "minmax" else self.parts:
            watch.collect((values - self.middle) * self.factor)
        found = watch.amax()
        return found if found >= LEAST else 1.0

    def limits(self, cut: float) -> tuple[float, float]:
        """Lowest and highest value, within ±``cut``: the method cuts both sides where it cuts."""
        moved = (self.ends - self.middle) * self.factor
        return max(float(moved.min()), -cut), min(float(moved.max()), cut)


class _Sites:
    """All sites and the layers behind them, found one site after the other."""

    def __init__(self, recipe: CalibrationRecipe, model: Observable) -> None:
        self._recipe, self._model = recipe, model
        self.found: dict[str, Site] = {}
        # The values of a layer's attention, until its context is known.
        self._values: dict[str, _Seen] = {}

    def measure(self, name: str, seen: _Seen) -> None:
        """All about a site, and about the linear layers that read it."""
        import torch

        kind, middle = name.rpartition(".")[2], None
        largest = float(seen.ends.abs().max())
        if kind in SMOOTHED:
            self.found[name] = replace(self._read_by_linear(name, seen), largest=largest)
            return
        if kind in CENTERED:
            sums: Any = sum(part.sum(dim=0, dtype=torch.float64) for part in seen.parts)
            mean = (sums / sum(map(len, seen.parts))).float()
            seen, middle = replace(seen, middle=mean), mean.numpy()
        if kind == "v":
            kept = [] if self._recipe.method == "minmax" else seen.parts
            self._values[name] = replace(seen, parts=kept)
        self.found[name] = Site(name, seen.amax(self._recipe), middle=middle, largest=largest)

    def _read_by_linear(self, name: str, seen: _Seen) -> Site:
        """What a linear layer reads."""
        import torch

        recipe, alpha = self._recipe, self._recipe.alpha
        layer, _, kind = name.rpartition(".")
        if recipe.headroom and alpha:
            alpha = 1.0 if kind == "ffn_act" else alpha * STRENGTH.get(kind, 1.0)
            if kind in ROOM:
                room = recipe.headroom * ROOM[kind]
                seen = replace(seen, ends=with_headroom(seen.ends, room))
        low, high = seen.ends.numpy()
        weight = self._model.weight(name) if alpha > 0 or recipe.levels else None
        divisor = None
        if weight is not None and alpha > 0:
            columns = np.abs(weight).max(axis=0)
            divisor = smoothing(np.maximum(high, -low), columns, alpha)
            seen = replace(seen, factor=torch.from_numpy(1 / divisor))
        middle = (high + low) * np.float32(0.5)
        moved = replace(seen, middle=torch.from_numpy(middle))
        site = Site(name, seen.amax(recipe), moved.amax(recipe), middle=middle, divisor=divisor)
        # What an activation gives is not moved; see `Site.affine`.
        covered, cut = (seen, site.amax) if kind == "ffn_act" else (moved, site.moved)
        assert cut is not None
        site = replace(site, limits=covered.limits(cut))
        if kind == "context" and f"{layer}.v" in self._values:
            site = self._of_values(site, seen)
        if weight is not None and recipe.levels:
            moments = Moments(site.affine)
            for part in seen.parts:
                moments.collect(part)
            # What is rounded next is as large as all that libc kept of these.
            release_memory()
            rounded = round_layer(weight, moments, recipe.levels, recipe.pair_sum)
            site = replace(site, rounded=rounded)
        return site

    def _of_values(self, context: Site, seen: _Seen) -> Site:
        """The context with its range around the values' mean; the values behind its divisor."""
        name = f"{context.layer}.v"
        values = self._values.pop(name)
        if context.divisor is not None:
            smoothed = replace(values, factor=seen.factor).amax(self._recipe)
            self.found[name] = replace(self.found[name], smoothed=smoothed)
        return replace(context, centered=replace(seen, middle=values.middle).amax(self._recipe))
