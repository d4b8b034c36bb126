"""The engine's answer to a row as a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xopt.model.head import Head
from xopt.model.results import Answer, Embedding, Prediction, Result, Tags
from xopt.model.spans import find_span
from xopt.model.stream import check_numbers
from xopt.model.texts import Row
from xopt.packing import Encoding

__all__ = ["finish"]

Array = NDArray[np.float32]


def finish(
    head: Head,
    row: Row,
    encodings: Sequence[Encoding],
    values: Sequence[Array],
    normalize: bool | None = None,
) -> Result:
    """What the checkpoint's own library would say.

    Args:
        head: of the bundle.
        row: what was asked.
        encodings: what the engine read: one, or the parts or windows of the row.
        values: its answer to each.
        normalize: embeddings to length 1; as the checkpoint says if None.

    Raises:
        BuildError: the engine answered with what is no number.
    """
    check_numbers(row.name, values)
    if head.kind == "embed":
        return Embedding(head.finish_embeddings(values[0], normalize), len(encodings[0]))
    if head.kind == "classify":
        finished = head.finish(values[0])
        return Prediction(head.labels, finished, head.says, values[0], len(encodings[0]))
    if head.kind == "span":
        return _answer(row, encodings, values)
    return _tags(head, row, encodings, values)


def _answer(row: Row, windows: Sequence[Encoding], logits: Sequence[Array]) -> Answer:
    found = find_span(windows, logits)
    if not np.isfinite(found.score):
        # Every high logit is the question's; whoever asks wants an answer of the context.
        most = max(map(len, windows))
        found = find_span(windows, logits, n_best=most, passage_alone=True)
    context = str(row.pair)
    raw = context[found.start : found.stop]
    start = found.start + len(raw) - len(raw.lstrip())
    text = raw.strip()
    return Answer(
        text,
        start,
        start + len(text),
        found.score,
        found.probability,
        np.concatenate(logits),
        sum(map(len, windows)),
    )


def _tags(head: Head, row: Row, parts: Sequence[Encoding], logits: Sequence[Array]) -> Tags:
    whole = np.concatenate(logits)
    pieces = np.concatenate([part.ids for part in parts])
    offsets: NDArray[np.int32] | None = None
    words: tuple[str, ...]
    chosen: NDArray[Any]
    if isinstance(row.text, str):
        [part] = parts
        assert part.sequence is not None
        assert part.offsets is not None
        chosen = part.sequence == 0
        offsets = part.offsets[chosen]
        words = tuple(row.text[start:stop] for start, stop in offsets.tolist())
    else:
        counts = np.concatenate([cast(NDArray[np.int32], part.words) for part in parts])
        places = np.flatnonzero(counts)
        chosen = places[counts[places].argsort(kind="stable")]
        words = row.text
    values = head.finish(whole[chosen])
    names = tuple(head.labels[i] for i in whole[chosen].argmax(axis=-1))
    return Tags(words, names, values, head.labels, head.says, offsets, whole, pieces)
