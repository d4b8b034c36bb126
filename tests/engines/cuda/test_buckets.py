"""The buckets of the CUDA engine, on batches that other code than theirs puts together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xopt.calibrate.corpus import load_corpus
from xopt.engines.cuda_buckets import Buckets, choose_buckets
from xopt.packing import Encoding, pack

DATA = Path(__file__).parents[3] / "evaluate" / "data"
FULL = 4096

Pairs = list[tuple[int, int]]


def tokens_of(*texts: str) -> int:
    """Special tokens, and one for about four bytes."""
    return 1 + sum(1 + len(text.encode()) // 4 for text in texts)


def rows_of(pattern: str) -> Iterator[dict[str, str]]:
    for path in sorted(DATA.glob(pattern)):
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def real(name: str) -> list[int]:
    """Lengths of texts that the repository holds."""
    if name == "calibration":
        return [tokens_of(text) for _, text in load_corpus().rows]
    if name == "tatoeba":
        return [tokens_of(row["source_sentence"]) for row in rows_of("tatoeba.*/*.jsonl")]
    if name == "xnli":
        rows = rows_of("XNLI/*.jsonl")
        return [tokens_of(row["sentence1"], row["sentence2"]) for row in rows]
    return [tokens_of(row["question"], row["context"]) for row in rows_of("XQuAD.*/*.jsonl")]


def quantiles(lengths: list[int]) -> tuple[int, ...]:
    """What a build hands over."""
    return tuple(int(n) for n in np.percentile(np.minimum(lengths, 512), range(101)))


def batches(lengths: list[int], seed: int) -> dict[str, Pairs]:
    """A text alone, what a server finds waiting, and a sorted corpus in full batches."""
    generator = np.random.default_rng(seed)
    texts = np.minimum(lengths, 512)
    served, bulk = [], []
    for _ in range(300):
        group = generator.choice(texts, generator.integers(2, 65))
        while group.sum() > FULL:
            group = group[:-1]
        served.append((int(group.sum()), len(group)))
    for _ in range(3):
        # A session reads 2048 texts at a time.
        left = sorted(generator.choice(texts, 2048).tolist())
        while left:
            count = max(1, FULL // left[-1])
            bulk.append((sum(left[-count:]), len(left[-count:])))
            left = left[:-count]
    return {"alone": [(int(n), 1) for n in texts], "served": served, "bulk": bulk}


def waste(buckets: Buckets, pairs: Pairs) -> tuple[float, float]:
    """Mean tokens of the tails and of the batches."""
    tails, own = [0], [0]
    for (tokens, sentences), count in Counter(pairs).items():
        found = buckets.find(tokens, sentences)
        assert found in buckets.shapes
        assert found[0] >= tokens
        assert found[1] >= sentences
        tails.append((found[0] - tokens) * count)
        own.append(tokens * count)
    return sum(tails) / max(1, len(pairs)), sum(own) / max(1, len(pairs))


@pytest.mark.parametrize("name", ["calibration", "tatoeba", "xnli", "xquad"])
def test_little_is_wasted_on_real_lengths(name: str) -> None:
    lengths = real(name)
    assert len(lengths) > 100
    buckets = choose_buckets(quantiles(lengths), 512)
    assert len(buckets.shapes) <= 64
    kinds = batches(lengths, seed=5)
    found = [waste(buckets, pairs) for pairs in kinds.values()]
    assert sum(t for t, _ in found) <= 0.04 * sum(o for _, o in found)
    small = [pair for pairs in kinds.values() for pair in pairs if pair[0] < 128]
    tails, own = waste(buckets, small)
    assert tails <= 0.10 * own


def mixture(seed: int) -> list[int]:
    """Log-normal lengths of up to four kinds of text, from all alike to all over the range.

    Every third mixture is of short texts, down to those of two special tokens and a word.
    """
    generator = np.random.default_rng(1000 + seed)
    lengths: list[float] = []
    for _ in range(generator.integers(1, 5)):
        middle = generator.uniform(0, 6.2) if seed % 3 == 0 else np.log(generator.uniform(1, 512))
        spread, count = generator.uniform(0, 1.5), 200 * int(generator.integers(1, 10))
        lengths += np.exp(generator.normal(middle, spread, count)).tolist()
    return np.clip(lengths, 3, 512).astype(int).tolist()


@pytest.mark.parametrize("first", range(0, 36, 12))
def test_the_aims_are_met_or_not_claimed(first: int) -> None:
    for seed in range(first, first + 12):
        lengths = mixture(seed)
        buckets = choose_buckets(quantiles(lengths), 512)
        assert len(buckets.shapes) <= 64
        kinds = batches(lengths, seed)
        found = [waste(buckets, pairs) for pairs in kinds.values()]
        average = sum(t for t, _ in found) / sum(o for _, o in found)
        small = [pair for pairs in kinds.values() for pair in pairs if pair[0] < 128]
        tails, own = waste(buckets, small)
        claimed = "is possible" not in buckets.describe()
        # Texts of a few words leave no graphs for levels of tokens.
        assert claimed or seed % 3 == 0, (seed, buckets.describe())
        assert (average <= 0.04 and tails <= 0.10 * own) or not claimed, (seed, average, tails, own)
        # What is said where no claim is made: half more at most, these batches are others.
        assert average <= max(0.04, 1.5 * buckets.average), (seed, average, buckets.average)
        assert tails <= max(0.10, 1.5 * buckets.below_128) * own, (seed, tails, own)


@given(
    lengths=st.lists(st.integers(1, 512), min_size=1, max_size=200),
    tokens=st.integers(1, 600),
    sentences=st.integers(1, 40),
)
def test_every_batch_has_a_bucket(lengths: list[int], tokens: int, sentences: int) -> None:
    """Groups in order that fit, whatever the corpus was."""
    shapes = tuple(sorted({(tokens // 3 + 1, 1), (max(tokens, 512), sentences)}))
    buckets = Buckets(shapes)
    batch = pack(
        [Encoding(np.zeros(n, np.int32), np.zeros(n, np.int32)) for n in lengths], first_position=0
    )
    groups = buckets.split(batch)
    assert np.concatenate(groups).tolist() == list(range(len(lengths)))
    for group in groups:
        assert buckets.find(int(batch.lengths[group].sum()), len(group)) is not None
    pairs = np.array([[int(batch.lengths[g].sum()), len(g)] for g in groups])
    filled = buckets.filled(pairs).tolist()
    assert filled == [list(buckets.find(*pair) or ()) for pair in pairs.tolist()]


def test_empty_sentences_are_saved_for_few_tokens_alone() -> None:
    """A bucket of more tokens and fewer sentences is cheaper, until the tokens are many."""
    assert Buckets(((100, 64), (104, 4))).find(100, 2) == (104, 4)
    assert Buckets(((100, 64), (120, 4))).find(100, 2) == (100, 64)
    assert Buckets(((100, 1), (120, 64), (140, 2))).find(100, 2) == (120, 64)


def test_one_long_text_more_does_not_need_another_batch() -> None:
    """A batch just beyond the largest bucket runs in two like parts, not in a full and a scrap."""
    batch = pack(
        [Encoding(np.zeros(100, np.int32), np.zeros(100, np.int32))] * 11, first_position=0
    )
    assert sorted(map(len, Buckets(((1000, 64),)).split(batch))) == [5, 6]
