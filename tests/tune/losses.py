"""Whether something was learnt, without a share that is chosen."""

from collections.abc import Sequence

from scipy import stats

__all__ = ["fall"]


def fall(losses: Sequence[float]) -> bool:
    """Whether the later half lies lower than halves of one row of numbers do once in a thousand."""
    half = len(losses) // 2
    found = stats.mannwhitneyu(losses[:half], losses[half:], alternative="greater")
    return float(found.pvalue) < 1e-3
