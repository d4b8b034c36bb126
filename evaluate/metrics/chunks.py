"""Chunks of tagged tokens as seqeval finds them (its lenient mode), and their F1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError, did_you_mean
from xopt.evaluate.statistics import Scored, mean_over

__all__ = ["SEQEVAL", "chunk_f1", "chunks", "token_accuracy"]

Tags = Sequence[str]


def _whole(tag: str) -> str:
    return tag.rsplit("-", 1)[-1]


def _rest(tag: str) -> str:
    return tag[1:].split("-", 1)[-1] or "_"


# seqeval's version -> the type it reads out of a tag. They agree on B-PER; on tags without a prefix
# the newer one drops the first letter, so that CCONJ and SCONJ are both of the type CONJ.
SEQEVAL: dict[str, Callable[[str], str]] = {"0.0.12": _whole, "1.2.2": _rest}


def chunks(tags: Tags, version: str = "0.0.12") -> set[tuple[str, int, int]]:
    """Chunks of a sentence as ``(type, first token, last token)``.

    The first letter of a tag is read as its position (B, I, E, S or O) even where the tag has no
    prefix, as seqeval does.

    Raises:
        InputError: an unknown version.
    """
    if version not in SEQEVAL:
        raise InputError(f"Unknown seqeval {version!r}.", hint=did_you_mean(version, SEQEVAL))
    type_of = SEQEVAL[version]
    found = set()
    start, before, kind_before = 0, "O", ""
    for index, tag in enumerate([*tags, "O"]):
        letter, kind = tag[0], type_of(tag)
        changed = kind != kind_before
        ends = (
            before in "ES"
            or (before in "BI" and letter in "BSO")
            or (before not in "O." and changed)
        )
        if ends:
            found.add((kind_before, start, index - 1))
        starts = (
            letter in "BS"
            or (before in "ESO" and letter in "EI")
            or (letter not in "O." and changed)
        )
        if starts:
            start = index
        before, kind_before = letter, kind
    return found


def chunk_f1(gold: Sequence[Tags], answers: Sequence[Tags], version: str = "0.0.12") -> Scored:
    """Micro-averaged F1 over the chunks of all sentences."""
    counts = np.empty((len(gold), 3))
    for row, (truth, answer) in enumerate(zip(gold, answers, strict=True)):
        right, found = chunks(truth, version), chunks(answer, version)
        counts[row] = len(right & found), len(found), len(right)
    return Scored(counts, f1_of_counts)


def f1_of_counts(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[..., 3]`` (true positives, found, gold) -> F1 in percent; 0 where there is nothing."""
    total = sums[..., 1] + sums[..., 2]
    f1: NDArray[np.float64] = 200.0 * sums[..., 0] / np.maximum(total, 1e-12)
    return f1


def token_accuracy(gold: Sequence[Tags], answers: Sequence[Tags]) -> Scored:
    """The share of tokens with the right tag."""
    pairs = list(zip(gold, answers, strict=True))
    right = [sum(a == b for a, b in zip(t, p, strict=True)) for t, p in pairs]
    return mean_over(np.array(right, np.float64), np.array([len(t) for t in gold], np.float64))
