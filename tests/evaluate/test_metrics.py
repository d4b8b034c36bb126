"""Metrics on fixed predictions: seqeval, SQuAD's definition, MLQA by hand, margins by numpy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from tests.evaluate.tags import NER, UPOS, noisy, random_tags

from xopt.errors import InputError
from xopt.evaluate.metrics import mlqa, squad
from xopt.evaluate.metrics.aggregate import aggregate
from xopt.evaluate.metrics.chunks import chunk_f1, chunks, token_accuracy
from xopt.evaluate.metrics.mining import best_threshold, mine, nearest_neighbours
from xopt.evaluate.tasks.udpos import UdPos


@pytest.mark.parametrize("tags", [UPOS, NER], ids=["upos", "ner"])
@pytest.mark.parametrize("seed", range(4))
def test_chunks_and_f1_are_seqevals_own(tags: list[str], seed: int) -> None:
    pytest.importorskip("seqeval", reason="seqeval is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from seqeval.metrics import accuracy_score, f1_score
        from seqeval.metrics.sequence_labeling import get_entities

        gold = random_tags(tags, seed)
        found = noisy(gold, tags, seed + 100)
        for sentence in found:
            theirs = [(kind, start, end) for kind, start, end in get_entities(sentence)]
            assert chunks([sentence], "1.2.2") == [set(theirs)]
        expected = 100 * f1_score(gold, found)
        accuracy = 100 * accuracy_score(gold, found)
    assert chunk_f1(gold, found, "1.2.2").value == pytest.approx(expected, abs=1e-9)
    assert token_accuracy(gold, found).value == pytest.approx(accuracy, abs=1e-9)
    if tags is NER:
        assert chunk_f1(gold, found, "0.0.12").value == pytest.approx(expected, abs=1e-9)


def test_the_two_seqevals_differ_where_the_facts_say() -> None:
    assert chunks([["DET", "NOUN", "NOUN"]]) == [{("DET", 0, 0), ("NOUN", 1, 2)}]
    # CCONJ and SCONJ: two types before, one type CONJ since; S still begins a chunk.
    for tags in (["CCONJ", "SCONJ"], ["SCONJ", "CCONJ"]):
        old = {(tags[0], 0, 0), (tags[1], 1, 1)}
        assert chunks([tags], "0.0.12") == [old]
    gold, found = [["CCONJ", "NOUN"]], [["SCONJ", "NOUN"]]
    assert chunk_f1(gold, found, "0.0.12").value == pytest.approx(50)
    assert chunk_f1(gold, found, "1.2.2").value == pytest.approx(100)
    # A tag that begins with S is always a chunk of its own.
    assert chunks([["SYM", "SYM"]], "0.0.12") == [{("SYM", 0, 0), ("SYM", 1, 1)}]
    with pytest.raises(InputError, match=r"Unknown seqeval '2\.0'"):
        chunks([["X"]], "2.0")


def test_the_old_seqeval_is_the_conlleval_rule_over_whole_tags() -> None:
    # What 0.0.12 does to tags without a prefix, worked by hand: runs join unless they begin with S.
    for sentence in random_tags(UPOS, 7, 100):
        expected = set()
        start = 0
        for index in range(len(sentence)):
            last = index + 1 == len(sentence)
            if last or sentence[index + 1] != sentence[index] or sentence[index][0] == "S":
                expected.add((sentence[index], start, index))
                start = index + 1
        assert chunks([sentence], "0.0.12") == [expected]


@pytest.mark.parametrize(
    ("answer", "golds", "exact", "overlap"),
    [
        ("The Cat", ["cat"], 1, 1),
        ("a cat sat", ["the cat"], 0, 2 / 3),
        ("cat, cat", ["cat"], 0, 2 / 3),
        ("New York", ["York", "New York City"], 0, 0.8),
        ("", ["x"], 0, 0),
        ("it's", ["its"], 1, 1),
        # Only ASCII punctuation goes, and there are no words without spaces, in any language.
        ("東京。", ["東京"], 0, 0),
        ("das Haus", ["Haus"], 0, 2 / 3),
        ("an apple a day", ["apple day"], 1, 1),
    ],
)
def test_squad(answer: str, golds: list[str], exact: float, overlap: float) -> None:
    assert squad.exact_match(answer, golds) == exact
    assert squad.f1(answer, golds) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "The “Old” Harbour — a port!", "old harbour port"),
        ("es", "¿La casa de los gatos?", "casa de gatos"),
        ("es", "Un perro y unas flores", "perro y flores"),
        ("de", "Die Straße des Königs, einem Mann", "straße königs mann"),
        ("de", "eines Tages „der“ Eine", "tages"),
        ("vi", "Những con mèo là của tôi.", "con mèo tôi"),
        ("ar", "القلعة، القديمة", "قلعة قديمة"),
        # Within a word as well: the two letters are cut wherever they stand.
        ("ar", "مثال", "مث"),
        ("hi", "दिल्ली। नगर", "दिल्ली नगर"),
        ("zh", "北京市，2008年 Olympic", "北 京 市 2008 年 olympic"),
        ("zh", "《红楼梦》", "红 楼 梦"),
    ],
)
def test_mlqa_by_hand(language: str, text: str, expected: str) -> None:
    assert mlqa.normalise(text, language) == expected


def test_mlqa_knows_its_seven_languages_and_keeps_articles_of_others() -> None:
    assert set(mlqa.LANGUAGES) == {"en", "es", "de", "ar", "hi", "vi", "zh"}
    assert mlqa.normalise("The Dar es Salaam!", "sw") == "the dar es salaam"
    # Chinese overlap is counted by character.
    clean = lambda text: mlqa.normalise(text, "zh")  # noqa: E731
    assert squad.f1("北京市", ["北京"], clean) == pytest.approx(0.8)


def unit(rows: int, seed: int, width: int = 16) -> Any:
    values = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "m"), [(40, 60), (60, 40), (3, 2)])
def test_margins_are_those_of_a_direct_computation(n: int, m: int, monkeypatch: Any) -> None:
    import xopt.evaluate.metrics.mining as mining

    # Several blocks.
    monkeypatch.setattr(mining, "BLOCK", 7 * max(n, m))
    left, right = unit(n, 1), unit(m, 2)
    table = (left @ right.T).astype(np.float64)
    k = min(4, n, m)
    if k == 4:
        row_mean = np.sort(table, axis=1)[:, -4:].mean(axis=1)
        column_mean = np.sort(table, axis=0)[-4:].mean(axis=0)
    else:
        row_mean = np.sort(table, axis=1)[:, -min(4, m) :].mean(axis=1)
        column_mean = np.sort(table, axis=0)[-min(4, n) :].mean(axis=0)
    margin = table / ((row_mean[:, None] + column_mean[None, :]) / 2)
    found = mine(left, right)
    np.testing.assert_allclose(found.score, margin[found.left, found.right], rtol=1e-5)
    assert (np.diff(found.score) <= 0).all()
    assert len(set(found.left)) == len(found.left)
    assert len(set(found.right)) == len(found.right)
    # By hand: each row's and each column's best among its neighbours, then greedily.
    proposals = set()
    for i in range(n):
        near = np.argsort(-table[i])[:4]
        proposals.add((i, int(near[margin[i, near].argmax()])))
    for j in range(m):
        near = np.argsort(-table[:, j])[:4]
        proposals.add((int(near[margin[near, j].argmax()]), j))
    taken: list[tuple[int, int]] = []
    for i, j in sorted(proposals, key=lambda pair: -margin[pair]):
        if all(i != a and j != b for a, b in taken):
            taken.append((i, j))
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == taken


def test_neighbours() -> None:
    cosines, rows = nearest_neighbours(unit(5, 3), unit(9, 4), 3)
    table = unit(5, 3) @ unit(9, 4).T
    assert [set(r) for r in rows] == [set(np.argsort(-t)[:3]) for t in table]
    np.testing.assert_allclose(np.sort(cosines), np.sort(table)[:, -3:], rtol=1e-6)


def test_the_threshold_maximises_f1_on_dev() -> None:
    pairs = [("a", "1"), ("b", "2"), ("c", "9"), ("d", "4"), ("e", "9")]
    scores = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    gold = {("a", "1"), ("b", "2"), ("d", "4")}
    # F1 after 1..5 pairs: 1/2, 4/5, 2/3, 6/7, 3/4.
    assert best_threshold(pairs, scores, gold) == 1.5
    assert best_threshold(pairs, scores, {("x", "y")}) == np.inf
    assert best_threshold([], np.array([]), gold) == 0.0


def test_aggregation_by_hand() -> None:
    scores = {
        "xnli": 80.0, "pawsx": 90.0, "udpos": 70.0, "panx": 60.0, "xquad": 65.0, "mlqa": 55.0,
        "tydiqa": 45.0, "bucc2018": 66.0, "tatoeba": 57.0,
    }  # fmt: skip
    found = aggregate(scores)
    assert found["groups"] == {"classification": 85, "tagging": 65, "qa": 55, "retrieval": 61.5}
    assert found["average"] == pytest.approx(588 / 9)
    # The row of XLM-R large in XTREME's paper: 68.1 when question answering is (F1 + EM) / 2.
    row = {
        "xnli": 79.2, "pawsx": 86.4, "udpos": 72.6, "panx": 65.4, "xquad": (76.6 + 60.8) / 2,
        "mlqa": (71.6 + 53.2) / 2, "tydiqa": (65.1 + 45.0) / 2, "bucc2018": 66.0, "tatoeba": 57.3,
    }  # fmt: skip
    assert aggregate(row)["average"] == pytest.approx(68.1, abs=0.05)
    del scores["bucc2018"]
    partly = aggregate(scores)
    assert partly["average"] is None
    assert partly["groups"]["retrieval"] is None
    assert partly["groups"]["qa"] == 55


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("hải quân", "hảiquân"),
        (" 10 000 ", "10000"),
        ("می\u200cرود", "میرود"),
        ("10\u00a0000", "10\u00a0000"),
        ("word", "word"),
    ],
)
def test_words_of_udpos_are_as_xtreme_prepares_them(token: str, word: str) -> None:
    """Its utils_preprocess.py: strip, then ``''.join(w.replace(ZWNJ, '').split(' '))``."""
    assert UdPos().clean(token) == word == "".join(token.strip().replace("\u200c", "").split(" "))
