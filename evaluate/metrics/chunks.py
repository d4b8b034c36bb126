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


def chunks(sentences: Sequence[Tags], version: str = "0.0.12") -> list[set[tuple[str, int, int]]]:
    """Chunks of each sentence as ``(type, first token, last token)``, tokens counted over all.

    The first letter of a tag is read as its position (B, I, E, S or O) even where the tag has no
    prefix, as seqeval does. Between sentences seqeval reads an O, and so counts one token more.
    What it keeps from one sentence to the next matters for the newer version alone: it takes X and
    O for one type, so that an X before or after an O neither begins nor ends a chunk.

    Raises:
        InputError: an unknown version.
    """
    if version not in SEQEVAL:
        raise InputError(f"Unknown seqeval {version!r}.", hint=did_you_mean(version, SEQEVAL))
    type_of = SEQEVAL[version]
    start, index, before, kind_before = 0, 0, "O", ""
    found: list[set[tuple[str, int, int]]] = []
    for tags in sentences:
        found.append(set())
        for tag in (*tags, "O"):
            letter, kind = tag[0], type_of(tag)
            changed = kind != kind_before
            ends = (
                before in "ES"
                or (before in "BI" and letter in "BSO")
                or (before not in "O." and changed)
            )
            if ends:
                found[-1].add((kind_before, start, index - 1))
            starts = (
                letter in "BS"
                or (before in "ESO" and letter in "EI")
                or (letter not in "O." and changed)
            )
            if starts:
                start = index
            before, kind_before, index = letter, kind, index + 1
    return found


def chunk_f1(gold: Sequence[Tags], answers: Sequence[Tags], version: str = "0.0.12") -> Scored:
    """Micro-averaged F1 over the chunks of all sentences."""
    counts = [
        (len(right & found), len(found), len(right))
        for right, found in zip(chunks(gold, version), chunks(answers, version), strict=True)
    ]
    return Scored(np.array(counts, np.float64).reshape(-1, 3), f1_of_counts)


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
