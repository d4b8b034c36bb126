"""The calibration run: watch every site over the sample, then store each range."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.observers import METHODS, observer
from xopt.calibrate.sampling import Sample
from xopt.calibrate.smooth import smoothing
from xopt.errors import InputError, did_you_mean
from xopt.host import tool_versions
from xopt.packing import PackedBatch, pack, plan_batches

__all__ = ["CalibrationRecipe", "Observable", "calibrate", "ranges_fingerprint", "read_ranges"]

# Sites whose linear layer can be smoothed.
SMOOTHED = ("qkv_in", "context", "ffn_in", "ffn_act")
BATCH_TOKENS = 2048


@dataclass(frozen=True)
class CalibrationRecipe:
    """How ranges are found.

    Attributes:
        method: one of ``minmax``, ``percentile``, ``entropy``, ``mse``.
        percentile: for ``percentile``.
        alpha: SmoothQuant's strength; 0 for none.
    """

    method: str = "minmax"
    percentile: float = 99.99
    alpha: float = 0.8

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
        graph, sample.fingerprint, asdict(recipe), {"format": 2},
        tool_versions("torch", "nvidia-modelopt"),
    )  # fmt: skip


def calibrate(
    model: Observable,
    graph: str,
    sample: Sample,
    recipe: CalibrationRecipe,
    *,
    first_position: int,
    columns: Callable[[str], NDArray[np.float32]],
    progress: Callable[[float], None] = lambda share: None,
) -> Ranges:
    """Measure the range of every site over ``sample``, or take it from the cache.

    Args:
        model: runs the batches.
        graph: fingerprint of the graph the ranges belong to.
        sample: what is run.
        recipe: how ranges are found.
        first_position: of the packed batch.
        columns: ``site -> [in]``, the largest absolute weight in each column of the linear layer
            that reads the site.
        progress: called with the finished share, 0 to 1.
    """
    digest = ranges_fingerprint(graph, sample, recipe)
    cached = Ranges.find(digest)
    if cached is not None:
        return cached
    batches = _batches(sample, first_position)
    passes = 2 if recipe.alpha > 0 else 1
    done = 0
    total = passes * len(batches)

    def step() -> None:
        nonlocal done
        done += 1
        progress(done / total)

    smooth: dict[str, NDArray[np.float32]] = {}
    if recipe.alpha > 0:
        largest = _channel_maxima(model, batches, step)
        smooth = {
            site: smoothing(values, columns(site), recipe.alpha) for site, values in largest.items()
        }
    amax = _site_ranges(model, batches, recipe, smooth, step)
    with publish(Ranges.place(digest)) as work:
        (work / "ranges.json").write_text(json.dumps(amax, indent=1) + "\n")
        np.savez(work / "smooth.npz", **smooth)  # type: ignore[arg-type]
        facts = {"parent": graph, "recipe": asdict(recipe), "sample": sample.facts}
        write_manifest(work, Ranges.kind, digest, facts)
    return Ranges.open(Ranges.place(digest))


def read_ranges(ranges: Ranges) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
    """``site -> amax`` and ``site -> [in]`` smoothing divisors."""
    amax = json.loads((ranges.folder / "ranges.json").read_text())
    with np.load(ranges.folder / "smooth.npz", allow_pickle=False) as stored:
        smooth = {name: stored[name] for name in stored.files}
    return amax, smooth


def _batches(sample: Sample, first_position: int) -> list[PackedBatch]:
    lengths = [len(e) for e in sample.encodings]
    return [
        pack([sample.encodings[i] for i in indices], first_position=first_position)
        for indices in plan_batches(lengths, BATCH_TOKENS)
    ]


def _channel_maxima(
    model: Observable, batches: Sequence[PackedBatch], step: Callable[[], None]
) -> dict[str, NDArray[np.float32]]:
    largest: dict[str, NDArray[np.float32]] = {}

    def watch(site: str, values: Any) -> None:
        if site.rpartition(".")[2] in SMOOTHED:
            seen = values.abs().amax(dim=0).numpy()
            largest[site] = np.maximum(largest[site], seen) if site in largest else seen

    for batch in batches:
        model.run(batch, watch=watch)
        step()
    return largest


def _site_ranges(
    model: Observable,
    batches: Sequence[PackedBatch],
    recipe: CalibrationRecipe,
    smooth: Mapping[str, NDArray[np.float32]],
    step: Callable[[], None],
) -> dict[str, float]:
    import torch

    observers: dict[str, Any] = {}
    inverse = {site: torch.from_numpy(1 / divisor) for site, divisor in smooth.items()}

    def watch(site: str, values: Any) -> None:
        # Probabilities need no watching: they fill [0, 1] by definition.
        if site.endswith(".probs"):
            return
        if site not in observers:
            observers[site] = observer(recipe.method, percentile=recipe.percentile)
        observers[site].collect(values * inverse[site] if site in inverse else values)
        context = site.removesuffix(".v") + ".context"
        if site.endswith(".v") and context in inverse:
            # What v is where a lowering folds the context's divisor into it.
            smoothed = site + "_smoothed"
            if smoothed not in observers:
                observers[smoothed] = observer(recipe.method, percentile=recipe.percentile)
            observers[smoothed].collect(values * inverse[context])

    for batch in batches:
        model.run(batch, watch=watch)
        step()
    found = {site: seen.amax() for site, seen in observers.items()}
    return {site: value if value > 0 else 1.0 for site, value in found.items()}
