"""The range of a site by each method, beside numpy's and plain searches."""

import numpy as np
import torch

from xopt.calibrate.observers import MseObserver, mse_amax, observer


def values(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(500, 40, generator=generator) * (1 + n) for n in range(4)]


def test_minmax_is_the_largest_absolute_value() -> None:
    watch = observer("minmax")
    for part in values():
        watch.collect(part)
    assert watch.amax() == float(torch.cat(values()).abs().max())


def test_percentile_is_numpys_within_a_bin() -> None:
    watch = observer("percentile", percentile=99.0)
    for part in values():
        watch.collect(part)
    flat = torch.cat(values()).abs().flatten().numpy()
    # ModelOpt divides the range of the first values it sees, and adds bins of that width.
    width = float(values()[0].abs().max()) / 2048
    assert abs(watch.amax() - np.percentile(flat, 99.0)) <= width


def rounding_error(x: np.ndarray, amax: float) -> float:
    step = amax / 127
    return float(((np.clip(np.round(x / step), -127, 127) * step - x) ** 2).mean())


def test_mse_finds_the_range_of_least_squared_error() -> None:
    watch = MseObserver()
    for part in values():
        watch.collect(part)
    x = torch.cat(values()).flatten().numpy()
    grid = np.linspace(np.abs(x).max() * 0.02, np.abs(x).max(), 400)
    best = min(rounding_error(x, a) for a in grid)
    assert rounding_error(x, watch.amax()) <= best * 1.02


def test_a_doubling_histogram_keeps_every_value() -> None:
    watch = MseObserver()
    for part in values():
        watch.collect(part)
    assert watch.counts.sum() == sum(part.numel() for part in values())
    assert watch.top >= watch.largest


def test_mse_of_a_uniform_distribution_keeps_all_of_it() -> None:
    """A range a rounds a part a of it, by (a / 127)^2 / 12 in the mean square, and cuts the rest
    off, (1 - a)^3 / 3 in all. The least sum of both has 1 - a = a / 254; the ranges that are tried
    lie 0.98 / 199 apart.
    """
    assert 1 - mse_amax(np.ones(2048), 1.0, 1.0) <= 1 / 255 + 0.98 / 199


def test_entropy_is_the_range_of_least_divergence() -> None:
    """Migacz (2017): clip to `end` bins, quantize these to 128 levels, compare distributions."""
    watch = observer("entropy")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200_000, generator=generator) ** 3
    watch.collect(x)
    largest = float(x.abs().max())
    counts, edges = np.histogram(x.abs().numpy(), bins=2048, range=(0, largest))
    # As the published form has it, the first bin, where zeros fall, counts as the second.
    counts[0] = counts[1]

    def divergence(end: int) -> float:
        wanted = counts[:end].astype(float)
        wanted[-1] += counts[end:].sum()
        level = np.arange(end) * 128 // end
        kept = counts[:end] > 0
        sums = np.bincount(level, counts[:end], 128)
        filled = np.bincount(level, kept, 128)
        given = np.where(kept, (sums / np.maximum(filled, 1))[level], 0.0)
        p, q = wanted / wanted.sum(), given / given.sum()
        if ((q == 0) & (p > 0)).any():
            return float("inf")
        used = p > 0
        return float((p[used] * np.log(p[used] / q[used])).sum())

    chosen = int(np.abs(edges - watch.amax()).argmin())
    assert divergence(chosen) <= min(map(divergence, range(128, 2049, 8))) * (1 + 1e-6)
    # So that an observer of the largest value fails here.
    assert chosen < 2048
    assert divergence(2048) > divergence(chosen)
