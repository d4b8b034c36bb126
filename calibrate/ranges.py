"""The calibration run: watch every site over the sample, then store each range."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.finite import check_numbers, packed
from xopt.calibrate.observers import METHODS, observer
from xopt.calibrate.rounding import RoundedLayer, round_sites
from xopt.calibrate.sampling import Sample
from xopt.calibrate.smooth import smoothing
from xopt.calibrate.stored import Channels, affine_of
from xopt.errors import InputError, did_you_mean
from xopt.host import tool_versions
from xopt.packing import PackedBatch

__all__ = [
    "CalibrationRecipe", "Observable", "calibrate", "ranges_fingerprint",
]  # fmt: skip

# Sites whose linear layer can be smoothed.
SMOOTHED = ("qkv_in", "context", "ffn_in", "ffn_act")
# Sites whose mean is taken away where attention is quantized.
CENTERED = ("k", "v")
# Sites whose channels are moved to their middle where that costs nothing.
SHIFTED = ("qkv_in", "ffn_in", "ffn_act")


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
    """

    method: str = "minmax"
    percentile: float = 99.99
    alpha: float = 0.8
    levels: int = 0
    pair_sum: int = 0

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
    """A model that shows its quantization sites while it runs."""

    def run(self, batch: PackedBatch, *, watch: Callable[[str, Any], None]) -> Any:
        """Run ``batch`` and call ``watch(site, tensor)`` at every site."""
        ...


def ranges_fingerprint(graph: str, sample: Sample, recipe: CalibrationRecipe) -> str:
    """The fingerprint the ranges have, known before they are measured."""
    return fingerprint(
        graph, sample.fingerprint, asdict(recipe), {"format": 6},
        tool_versions("torch", "nvidia-modelopt"),
    )  # fmt: skip


def calibrate(
    model: Observable,
    graph: str,
    sample: Sample,
    recipe: CalibrationRecipe,
    *,
    first_position: int,
    weights: Callable[[str], NDArray[np.float32]],
    progress: Callable[[float], None] = lambda share: None,
) -> Ranges:
    """Measure the range of every site over ``sample``, or take it from the cache.

    Args:
        model: runs the batches.
        graph: fingerprint of the graph the ranges belong to.
        sample: what is run.
        recipe: how ranges are found.
        first_position: of the packed batch.
        weights: ``site -> [out, in]``, the weight of the linear layer that reads the site.
        progress: called with the finished share, 0 to 1.
    """
    digest = ranges_fingerprint(graph, sample, recipe)
    cached = Ranges.find(digest)
    if cached is not None:
        return cached
    batches, rows = packed(sample, first_position)
    done = 0
    total = (3 if recipe.levels else 2) * len(batches)

    def step() -> None:
        nonlocal done
        done += 1
        progress(min(done / total, 1.0))

    largest, centers = _channels(model, batches, rows, step)
    smooth = {
        site: smoothing(values, np.abs(weights(site)).max(axis=0), recipe.alpha)
        for site, values in largest.items()
        if recipe.alpha > 0
    }
    amax, limits = _site_ranges(model, batches, recipe, smooth, centers, step)
    rounded: dict[str, RoundedLayer] = {}
    if recipe.levels:

        def watch_all(watch: Callable[[str, Any], None]) -> None:
            for batch in batches:
                model.run(batch, watch=watch)
                step()

        affine = affine_of(limits, smooth, centers)
        rounded = round_sites(affine, weights, watch_all, recipe.levels, recipe.pair_sum)
    with publish(Ranges.place(digest)) as work:
        (work / "limits.json").write_text(json.dumps(limits, indent=1) + "\n")
        parts = {f"{s}.{p}": v for s, layer in rounded.items() for p, v in vars(layer).items()}
        np.savez(work / "rounded.npz", **parts)
        (work / "ranges.json").write_text(json.dumps(amax, indent=1) + "\n")
        np.savez(work / "smooth.npz", **smooth)  # type: ignore[arg-type]
        np.savez(work / "centers.npz", **centers)  # type: ignore[arg-type]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in sample.rows)
        (work / "sample.jsonl").write_text(lines, encoding="utf-8")
        facts = {"parent": graph, "recipe": asdict(recipe), "sample": sample.facts}
        write_manifest(work, Ranges.kind, digest, facts)
    return Ranges.open(Ranges.place(digest))


def _channels(
    model: Observable,
    batches: Sequence[PackedBatch],
    rows: Sequence[Sequence[tuple[str, ...]]],
    step: Callable[[], None],
) -> tuple[Channels, Channels]:
    """What every channel shows: the largest absolute value, and where its center lies.

    Raises:
        CheckpointError: a value is no number; its text and its site are named.
    """
    highest: Channels = {}
    lowest: Channels = {}
    sums: dict[str, NDArray[np.float64]] = {}

    present = 0

    def watch(site: str, values: Any) -> None:
        check_numbers(site, values, batches[present], rows[present])
        kind = site.rpartition(".")[2]
        if kind in SMOOTHED:
            low, high = (limit.numpy() for limit in values.aminmax(dim=0))
            lowest[site] = np.minimum(lowest[site], low) if site in lowest else low
            highest[site] = np.maximum(highest[site], high) if site in highest else high
        elif kind in CENTERED:
            sums[site] = sums.get(site, 0) + values.double().sum(dim=0).numpy()

    for present, batch in enumerate(batches):  # noqa: B007  (`watch` reads it)
        model.run(batch, watch=watch)
        step()
    tokens = sum(batch.tokens for batch in batches)
    largest = {site: np.maximum(high, -lowest[site]) for site, high in highest.items()}
    centers = {site: (total / tokens).astype(np.float32) for site, total in sums.items()}
    for site, high in highest.items():
        if site.rpartition(".")[2] in (*SHIFTED, "context"):
            centers[site] = (high + lowest[site]) * np.float32(0.5)
    return largest, centers


def _site_ranges(
    model: Observable,
    batches: Sequence[PackedBatch],
    recipe: CalibrationRecipe,
    smooth: Channels,
    centers: Channels,
    step: Callable[[], None],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Every site's ``amax``, and the limits of what is rounded by :class:`Affine`."""
    import torch

    observers: dict[str, Any] = {}
    extremes: dict[str, tuple[float, float]] = {}
    inverse = {site: torch.from_numpy(1 / divisor) for site, divisor in smooth.items()}
    means = {site: torch.from_numpy(center) for site, center in centers.items()}

    def collect(site: str, values: Any) -> None:
        if site not in observers:
            observers[site] = observer(recipe.method, percentile=recipe.percentile)
        observers[site].collect(values)

    def bound(site: str, values: Any) -> None:
        low, high = (float(limit) for limit in values.aminmax())
        seen = extremes.get(site, (low, high))
        extremes[site] = (min(seen[0], low), max(seen[1], high))

    def watch(site: str, values: Any) -> None:
        layer, _, kind = site.rpartition(".")
        context = f"{layer}.context"
        # Probabilities need no watching: they fill [0, 1] by definition.
        if kind == "probs":
            return
        if kind in CENTERED:
            values = values - means[site]
        divide = inverse.get(site, 1)
        collect(site, values * divide)
        if kind == "context" and f"{layer}.v" in means:
            collect(site + "_centered", (values - means[f"{layer}.v"]) * divide)
        if kind == "context":
            moved = (values - means[site]) * divide
            collect(site + "_moved", moved)
            bound(site, moved)
        if kind in SHIFTED:
            moved = (values - means[site]) * divide
            collect(site + "_shifted", moved)
            bound(site, values * divide if kind == "ffn_act" else moved)
        if kind == "v" and context in inverse:
            # What v is where a lowering folds the context's divisor into it.
            collect(site + "_smoothed", values * inverse[context])

    for batch in batches:
        model.run(batch, watch=watch)
        step()
    found = {site: seen.amax() for site, seen in observers.items()}
    amax = {site: value if value > 0 else 1.0 for site, value in found.items()}
    suffixes = {"context": "_moved", "ffn_act": ""}
    limits = {}
    for site, (low, high) in extremes.items():
        # The method cuts both sides where it cuts.
        cut = amax[site + suffixes.get(site.rpartition(".")[2], "_shifted")]
        limits[site] = (max(low, -cut), min(high, cut))
    return amax, limits
