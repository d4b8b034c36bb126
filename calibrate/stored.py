"""Reading stored ranges: limits, divisors and middles of sites, rounded weights, and the texts."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Ranges
from xopt.calibrate.rounding import Affine, RoundedLayer
from xopt.calibrate.sampling import Sample, encode_rows
from xopt.errors import ArtifactError
from xopt.tokenization import Tokenizer

__all__ = [
    "Channels", "affine_of", "read_affine", "read_ranges", "read_rounded", "read_sample",
]  # fmt: skip

# Site -> a number for each channel.
Channels = dict[str, NDArray[np.float32]]


def read_ranges(ranges: Ranges) -> tuple[dict[str, float], Channels, Channels]:
    """What was measured.

    Returns:
        ``site -> amax``; ``site -> [in]``, the smoothing divisors; and ``site -> [hidden]``, the
        means of keys and values and the middle of each channel of ``qkv_in``, ``context``,
        ``ffn_in`` and ``ffn_act``. The ranges of ``k``, ``v``, ``v_smoothed`` (behind the context's
        divisor) and ``context_centered`` are those without the means, as attention is quantized
        (:mod:`xopt.compile.centering`); those of ``qkv_in_shifted`` and so on without the middle.
    """
    amax = json.loads((ranges.folder / "ranges.json").read_text())
    tables = []
    for name in ("smooth", "centers"):
        with np.load(ranges.folder / f"{name}.npz", allow_pickle=False) as stored:
            tables.append({site: stored[site] for site in stored.files})
    smooth, centers = tables
    return amax, smooth, centers


def read_sample(ranges: Ranges, tokenizer: Tokenizer) -> Sample:
    """The texts that were watched, tokenized again.

    Raises:
        ArtifactError: the file that holds them is damaged.
    """
    path = ranges.folder / "sample.jsonl"
    try:
        lines = filter(None, path.read_text(encoding="utf-8").split("\n"))
        rows = tuple(tuple(map(str, row)) for row in map(json.loads, lines))
        encodings = encode_rows(rows, tokenizer)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ArtifactError(f"{path} is damaged: {error}.", hint="Calibrate again.") from error
    return Sample(tuple(encodings), rows, dict(ranges.manifest["sample"]))


def read_affine(ranges: Ranges) -> dict[str, Affine]:
    """Site -> how it becomes unsigned 8-bit numbers."""
    _, smooth, centers = read_ranges(ranges)
    limits = json.loads((ranges.folder / "limits.json").read_text())
    return affine_of(limits, smooth, centers)


def read_rounded(ranges: Ranges) -> dict[str, RoundedLayer]:
    """Site -> the rounded linear layer that reads it; empty where the recipe has no levels."""
    with np.load(ranges.folder / "rounded.npz", allow_pickle=False) as stored:
        sites = [name.removesuffix(".values") for name in stored.files if name.endswith(".values")]
        return {
            site: RoundedLayer(
                stored[f"{site}.values"], stored[f"{site}.scales"], stored[f"{site}.correction"]
            )
            for site in sites
        }


def affine_of(
    limits: dict[str, tuple[float, float]], smooth: Channels, centers: Channels
) -> dict[str, Affine]:
    """Site -> how it is rounded, from its limits, divisors and middles."""
    found = {}
    for site, (low, high) in limits.items():
        middle = centers[site]
        # What a GELU gives is not moved: nothing before it could take the middle for free.
        if site.endswith(".ffn_act"):
            middle = np.zeros_like(middle)
        found[site] = Affine.over(low, high, smooth.get(site, np.ones_like(middle)), middle)
    return found
