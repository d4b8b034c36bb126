"""How good a head is on its English dev set: what stops a phase and chooses its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from xopt.evaluate.metrics import squad
from xopt.evaluate.metrics.chunks import chunk_f1, token_accuracy
from xopt.model.spans import find_span
from xopt.tune.data import TaskData
from xopt.tune.encode import Item

__all__ = ["dev_score"]

Logits = NDArray[np.float32]


def dev_score(data: TaskData, items: Sequence[Item], logits: Sequence[Logits]) -> float:
    """In percent: accuracy, F1 of chunks, or for spans the mean of F1 and exact match.

    Args:
        data: the task and its dev examples.
        items: of the dev examples, in their order.
        logits: of each item: ``[classes]``, ``[choices]``, ``[n, classes]`` or ``[n, 2]``.
    """
    if data.task.head == "tag":
        return _tags(data, items, logits)
    if data.task.head == "span":
        return _spans(data, items, logits)
    right = [x.argmax() == item.target for item, x in zip(items, logits, strict=True)]
    return 100.0 * float(np.mean(right))


def _tags(data: TaskData, items: Sequence[Item], logits: Sequence[Logits]) -> float:
    found: list[list[str]] = [[] for _ in data.dev]
    for item, scores in zip(items, logits, strict=True):
        [part] = item.encodings
        assert part.words is not None
        best = scores[: len(part)][part.words == 1].argmax(axis=1)
        found[item.owner] += [data.labels[i] for i in best]
    gold = [row["tags"] for row in data.dev]
    if data.task.score == "chunks":
        return chunk_f1(gold, found).value
    return token_accuracy(gold, found).value


def _spans(data: TaskData, items: Sequence[Item], logits: Sequence[Logits]) -> float:
    total = 0.0
    pairs = zip(items, logits, strict=True)
    for owner, group in groupby(pairs, key=lambda pair: pair[0].owner):
        members = list(group)
        windows = [item.encodings[0] for item, _ in members]
        scores = [x[: len(w)] for w, (_, x) in zip(windows, members, strict=True)]
        span = find_span(windows, scores)
        row = data.dev[owner]
        answer = row["context"][span.start : span.stop].strip()
        if not row["answers"] or _any_unanswerable(data):
            # As BERT's own code for SQuAD v2: the least sure of the windows speaks.
            nothing = min(float(x[0, 0] + x[0, 1]) for x in scores)
            answer = "" if nothing > span.score else answer
        golds = row["answers"] or [""]
        if golds == [""] or not answer:
            total += 2.0 * (squad.normalise(answer) == squad.normalise(golds[0]))
        else:
            total += squad.f1(answer, golds) + squad.exact_match(answer, golds)
    return 100.0 * total / (2 * len(data.dev))


def _any_unanswerable(data: TaskData) -> bool:
    return any(not row["answers"] for row in data.dev)
