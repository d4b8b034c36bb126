"""A span of a passage that answers a question: its windows, and the best span over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.model.layout import Frame, told
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = [
    "DOC_STRIDE",
    "MAX_ANSWER",
    "MAX_QUERY",
    "N_BEST",
    "WINDOW",
    "Span",
    "find_span",
    "read_windows",
]

Array = NDArray[np.float32]

# XTREME's own numbers, in tokens; N_BEST starts and ends are combined in each window.
WINDOW = 384
DOC_STRIDE = 128
MAX_QUERY = 64
MAX_ANSWER = 30
N_BEST = 20


def read_windows(
    tokenizer: Tokenizer,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    window: int = WINDOW,
    doc_stride: int = DOC_STRIDE,
    max_query: int = MAX_QUERY,
    cut: bool = False,
) -> list[list[Encoding]]:
    """The windows of each question and its passage.

    Args:
        tokenizer: of the checkpoint.
        questions: one for each passage.
        contexts: the passages; one that several questions ask about is encoded once.
        window: tokens of question and passage together; at most what the encoder takes is used.
        doc_stride: from the beginning of a window to the beginning of the next.
        max_query: tokens of a question that are kept.
        cut: keep of a passage what the first window has room for.

    Raises:
        InputError: such a window has no room for a passage.
    """
    frame = Frame.read(tokenizer)
    encode = partial(tokenizer.encode, max_tokens=None, details=True)
    asked = encode(list(questions))
    passages = list(dict.fromkeys(contexts))
    whole = encode(passages)
    encoded = {p: _bare(e) for p, e in zip(passages, whole, strict=True)}
    replaced = {p: e.replaced for p, e in zip(passages, whole, strict=True)}
    window = min(window, tokenizer.max_tokens)
    special = tokenizer.fast.num_special_tokens_to_add(is_pair=True)
    least = special + max_query + 1
    if window < least:
        raise InputError(
            f"A window of {window} tokens has no room for a passage beside max_query="
            f"{max_query} and {special} special tokens.",
            hint=f"Possible: a window of {least} tokens and above, or a smaller max_query.",
        )
    found = []
    for question, context in zip(asked, contexts, strict=True):
        tokens, passage = _bare(question).ids[:max_query], encoded[context]
        if cut:
            passage = _first(passage, window - special - len(tokens))
        windows = frame.windows(tokens, passage, window=window, stride=doc_stride)
        found.append(told(windows, question.replaced + replaced[context]))
    return found


@dataclass(frozen=True)
class Span:
    """The best span of a passage.

    Attributes:
        score: the sum of its start's and its end's logit; ``-inf`` if no span is allowed.
        start: its first character; 0 if there is none.
        stop: the one behind its last; 0 if there is none.
        probability: of its start times that of its end, over the passage's tokens in its window.
    """

    score: float = -np.inf
    start: int = 0
    stop: int = 0
    probability: float = 0.0


def find_span(
    windows: Sequence[Encoding],
    logits: Sequence[Array],
    *,
    n_best: int = N_BEST,
    longest: int = MAX_ANSWER,
    passage_alone: bool = False,
) -> Span:
    """The highest sum of start and end, and its characters of the passage.

    Args:
        windows: from :meth:`~xopt.model.layout.Frame.windows`.
        logits: ``[n, 2]`` of each window.
        n_best: starts and ends that are combined in each window.
        longest: answer, in tokens.
        passage_alone: rank the passage's tokens alone. XTREME's script ranks all of a window, so
            that there is no span where those of the question have the highest logits.
    """
    best = Span()
    for window, scores in zip(windows, logits, strict=True):
        assert window.sequence is not None
        assert window.words is not None
        assert window.offsets is not None
        starts = _ranked(scores[:, 0], window.words == 1, n_best, passage_alone)
        ends = _ranked(scores[:, 1], window.sequence == 1, n_best, passage_alone)
        size = ends[None, :] - starts[:, None] + 1
        sums = scores[starts, 0][:, None] + scores[ends, 1][None, :]
        sums = np.where((size >= 1) & (size <= longest), sums, -np.inf)
        if sums.size and sums.max() > best.score:
            row, column = np.unravel_index(sums.argmax(), sums.shape)
            first, last = starts[row], ends[column]
            best = Span(
                float(sums.max()),
                int(window.offsets[first, 0]),
                int(window.offsets[last, 1]),
                _probability(scores[window.sequence == 1], scores[first, 0], scores[last, 1]),
            )
    return best


def _ranked(
    scores: Array, allowed: NDArray[np.bool_], n_best: int, passage_alone: bool
) -> NDArray[np.intp]:
    """The places of the highest scores that are allowed, in order."""
    ranked = np.where(allowed, scores, -np.inf) if passage_alone else scores
    best = np.argsort(-ranked, kind="stable")[:n_best]
    return best[allowed[best]]


def _probability(logits: Array, start: np.float32, end: np.float32) -> float:
    """Softmax over ``logits [n, 2]`` of a start times that of an end."""
    top = logits.max(axis=0).astype(np.float64)
    sums = np.exp(logits - top).sum(axis=0)
    found = np.exp(np.array([start, end]) - top) / sums
    return float(found[0] * found[1])


def _first(encoding: Encoding, tokens: int) -> Encoding:
    """The first tokens of a bare encoding."""
    assert encoding.offsets is not None
    return Encoding(encoding.ids[:tokens], encoding.type_ids[:tokens], encoding.offsets[:tokens])


def _bare(encoding: Encoding) -> Encoding:
    """Without special tokens."""
    assert encoding.sequence is not None
    assert encoding.offsets is not None
    text = encoding.sequence >= 0
    return Encoding(encoding.ids[text], encoding.type_ids[text], encoding.offsets[text])
