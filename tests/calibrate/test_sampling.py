from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xopt.calibrate.corpus import Corpus, load_corpus
from xopt.calibrate.sampling import LENGTH_CLASSES, Form, class_of, draw_sample
from xopt.tokenization import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_file: Path) -> Tokenizer:
    return Tokenizer.open(tokenizer_file, 512)


def test_every_language_and_every_length_takes_part(tokenizer: Tokenizer) -> None:
    sample = draw_sample(load_corpus(), tokenizer, max_tokens=30_000)
    assert len(sample.facts["by_language"]) == 40
    assert set(sample.facts["by_length"]) == set(LENGTH_CLASSES)
    assert min(sample.facts["by_length"].values()) > 0
    assert sample.facts["tokens"] <= 30_000


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(budget=st.integers(64, 20_000), seed=st.integers(0, 5))
def test_the_budget_holds_and_no_text_is_drawn_twice(
    tokenizer: Tokenizer, budget: int, seed: int
) -> None:
    sample = draw_sample(load_corpus(), tokenizer, max_tokens=budget, seed=seed)
    assert len(set(sample.rows)) == len(sample.rows) > 0
    assert sample.facts["tokens"] == sum(len(e) for e in sample.encodings) <= budget


@pytest.mark.parametrize("classes", [{"short"}, {"middle"}, {"long"}, {"short", "long"}])
def test_a_corpus_without_some_lengths_fills_the_budget(
    tokenizer: Tokenizer, classes: set[str]
) -> None:
    rows = [
        row for row in load_corpus().rows if class_of(len(tokenizer.encode([row[1]])[0])) in classes
    ]
    lengths = [len(tokenizer.encode([text])[0]) for _, text in rows]
    budget = sum(lengths) // 2
    sample = draw_sample(Corpus("some", tuple(rows)), tokenizer, max_tokens=budget)
    # What is left is less than the longest text that was not drawn.
    unused = set(rows) - set(sample.rows)
    longest = max(len(tokenizer.encode([text])[0]) for _, text in unused)
    assert budget - longest < sample.facts["tokens"] <= budget


def test_the_same_seed_draws_the_same_and_another_another(tokenizer: Tokenizer) -> None:
    draws = [draw_sample(load_corpus(), tokenizer, max_tokens=4000, seed=s) for s in (1, 1, 2)]
    assert draws[0].fingerprint == draws[1].fingerprint
    assert draws[0].fingerprint != draws[2].fingerprint


def test_a_large_language_does_not_crowd_out_a_small_one(tokenizer: Tokenizer) -> None:
    rows = [("en", f"sentence number {n} of many") for n in range(500)]
    rows += [("sw", f"sentensi ya {n}") for n in range(5)]
    sample = draw_sample(Corpus("skewed", tuple(rows)), tokenizer, max_tokens=600)
    counts = sample.facts["by_language"]
    assert counts["sw"] == 5
    assert counts["en"] >= 5


def test_pairs_are_of_one_language_and_keep_their_separators(tokenizer: Tokenizer) -> None:
    corpus = Corpus("two", tuple((c, f"{c} {'x' * n}") for c in ("de", "sw") for n in range(1, 9)))
    sample = draw_sample(corpus, tokenizer, max_tokens=2000, form="pair")
    texts = {text for _, text in corpus.rows}
    assert {first for _, first, _ in sample.rows} == texts
    assert {second for _, _, second in sample.rows} == texts
    separator = tokenizer.fast.token_to_id("</s>")
    for (language, first, second), encoding in zip(sample.rows, sample.encodings, strict=True):
        assert first[:2] == second[:2] == language
        assert first != second
        assert encoding.ids.tolist() == tokenizer.encode([first], [second])[0].ids.tolist()
        assert (encoding.ids == separator).sum() == 3
    asked = draw_sample(corpus, tokenizer, max_tokens=2000, form="question")
    assert all(len(question) <= len(text) for _, question, text in asked.rows)
    alone = draw_sample(Corpus("one", (("de", "Haus"),)), tokenizer, form="pair")
    assert alone.rows == (("de", "Haus", "Haus"),)


@pytest.mark.parametrize("form", ["text", "pair", "question"])
def test_a_text_that_the_corpus_repeats_is_drawn_once(tokenizer: Tokenizer, form: Form) -> None:
    texts = [("en", f"sentence number {n} of some") for n in range(8)]
    texts += [("sw", "Mvua inanyesha leo."), ("sw", "Watoto wanacheza nje.")]
    corpus = Corpus("some", tuple(texts))
    repeated = Corpus("some", (*texts, *[texts[0]] * 200, *[texts[-1]] * 200))
    drawn, again = (
        draw_sample(c, tokenizer, max_tokens=600, form=form) for c in (corpus, repeated)
    )
    assert len(set(again.rows)) == len(again.rows)
    assert again.rows == drawn.rows
    assert all(row[1] != row[-1] for row in again.rows) or form == "text"


def test_prompts_stand_before_the_texts_in_turn(tokenizer: Tokenizer) -> None:
    corpus = Corpus("made", tuple(("en", f"text {n}") for n in range(6)))
    sample = draw_sample(corpus, tokenizer, prompts=["", "query: "])
    assert sorted(text for _, text in sample.rows) == [
        "query: text 1", "query: text 3", "query: text 5", "text 0", "text 2", "text 4",
    ]  # fmt: skip
    pairs = draw_sample(corpus, tokenizer, form="pair", prompts=["query: "])
    assert {first for _, first, _ in pairs.rows} == {f"query: text {n}" for n in range(6)}
    assert {second for _, _, second in pairs.rows} == {f"text {n}" for n in range(6)}


def test_one_text_longer_than_the_budget_still_calibrates(tokenizer: Tokenizer) -> None:
    corpus = Corpus("one", (("en", "word " * 200),))
    assert len(draw_sample(corpus, tokenizer, max_tokens=64).encodings) == 1
