"""Exact match and F1 of answers, by SQuAD v1's definition (Rajpurkar et al., 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

__all__ = ["exact_match", "f1", "normalise"]

Normalise = Callable[[str], str]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no English article, single spaces: for every language."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(answer: str, golds: Sequence[str], clean: Normalise = normalise) -> float:
    """1 if the answer equals one of the gold answers, else 0."""
    found = clean(answer)
    return float(any(found == clean(gold) for gold in golds))


def f1(answer: str, golds: Sequence[str], clean: Normalise = normalise) -> float:
    """Overlap of words with the best of the gold answers, 0 to 1."""
    found = Counter(clean(answer).split())
    return max(_overlap(found, Counter(clean(gold).split())) for gold in golds)


def _overlap(found: Counter[str], gold: Counter[str]) -> float:
    common = (found & gold).total()
    if not common:
        return 0.0
    return 2.0 * common / (found.total() + gold.total())
