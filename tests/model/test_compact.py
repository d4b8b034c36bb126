"""A Unigram tokenizer in little memory gives the encodings of the library's."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models, processors
from tokenizers import Tokenizer as FastTokenizer

from xopt.calibrate.corpus import load_corpus
from xopt.compiled import find_compiler
from xopt.model import compact
from xopt.model import unigram as unigram_module
from xopt.model.compact import CompactTokenizer, open_compact
from xopt.model.unigram import Unigram, read_score
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

TEXTS = [text for _, text in load_corpus().rows]
# Repeats have cuts of equal score, of which the library's choice is to be met.
ODD = [
    "", " ", "a <mask> b</s>", "<s><s>", "\u1100\u1161", "e\u0301te\u0301", "nnn mmmm nnnnnnn",
    "ooooo" * 9, "つつつ", "x" * 400, "\U0010ffff\U0010ffffa", "\x00\t", "ﬁ①", " a  b ",
    "<0x41>", "▁▁",
]  # fmt: skip

pytestmark = pytest.mark.skipif(not find_compiler(), reason="there is no C++ compiler")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "LEAST", 100)


def opened(path: Path, spec: TextSpec) -> CompactTokenizer:
    found = open_compact(path, spec)
    assert isinstance(found, CompactTokenizer)
    return found


@cache
def both(path: Path) -> tuple[Tokenizer, CompactTokenizer]:
    return Tokenizer.open(path, TextSpec(512)), opened(path, TextSpec(512))


def check(
    ours: Tokenizer,
    whole: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    limit: int | None = None,
) -> None:
    found = ours.encode(texts, pairs, max_tokens=limit)
    for text, a, b in zip(texts, found, whole.encode(texts, pairs, max_tokens=limit), strict=True):
        assert a.ids.tolist() == b.ids.tolist(), text
        assert a.type_ids.tolist() == b.type_ids.tolist(), text
        assert (a.ids.dtype, a.type_ids.dtype) == (b.ids.dtype, b.type_ids.dtype)


@pytest.mark.parametrize(
    "spec",
    [TextSpec(512), TextSpec(48, normalize="nfc", lower=True, truncation_side="left")],
    ids=["plain", "changed"],
)
def test_encodings_are_the_librarys(unigram: Path, spec: TextSpec) -> None:
    whole, ours = Tokenizer.open(unigram, spec), opened(unigram, spec)
    texts = [*TEXTS[::3], *ODD]
    check(ours, whole, texts)
    check(ours, whole, texts, texts[::-1])
    texts = [*TEXTS[:600:40], *ODD]
    for limit in [*range(8), 21]:
        check(ours, whole, texts, limit=limit)
        check(ours, whole, texts, texts[::-1], limit)


def test_without_special_tokens_it_is_the_librarys(unigram: Path, tmp_path: Path) -> None:
    facts = json.loads(unigram.read_bytes()) | {"post_processor": None}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(facts))
    assert type(open_compact(path, TextSpec(512))) is Tokenizer


@settings(max_examples=300)
@given(
    texts=st.lists(
        st.text() | st.sampled_from(ODD) | st.text(st.sampled_from("ano ▁<s>é字"), max_size=30),
        min_size=1,
        max_size=3,
    ),
    limit=st.none() | st.integers(0, 40),
)
def test_any_text_is_cut_as_by_the_library(
    unigram: Path, texts: list[str], limit: int | None
) -> None:
    whole, ours = both(unigram)
    check(ours, whole, texts, None, limit)
    check(ours, whole, texts, texts[::-1], limit)


def test_every_cut_has_the_scores_and_ties_of_the_library(tmp_path: Path) -> None:
    """Pieces of a and b whose scores are sums of each other, so that most texts have equal cuts.

    The unknown piece can be spelled, and one piece is so bad that its letters are unknown instead.
    """
    scores = {
        "a": -1.1, "aa": -2.2, "aaa": -3.3000000000000003, "b": -0.7, "ab": -1.8, "ba": -1.8,
        "abab": -3.6, "c<unk>": -4.0, "zy": -90.0, "é": -2.0,
    }  # fmt: skip
    path = tmp_path / "tokenizer.json"
    fast = FastTokenizer(models.Unigram([("<unk>", 0.0), *scores.items(), ("aa", -2.25)], 0))
    fast.add_special_tokens(["[S]"])
    special = ("[S]", fast.token_to_id("[S]"))
    fast.post_processor = processors.BertProcessing(special, special)
    fast.save(str(path))
    compact.LEAST = 1
    whole, ours = Tokenizer.open(path, TextSpec(512)), opened(path, TextSpec(512))
    generator = random.Random(0)
    texts = ["".join(generator.choices("aabbczyé<unk> ", k=generator.randrange(40)))
             for _ in range(3000)]  # fmt: skip
    check(ours, whole, [*texts, "<unk>", "c<unk>c", "zy", "zyzy", "qzyq"])


@pytest.mark.parametrize("content", ["Œuvre", "ńa", "ab cd", "xx"])
def test_added_tokens_are_found_where_the_library_finds_them(
    unigram: Path, tmp_path: Path, content: str
) -> None:
    for normalized in (False, True):
        fast = FastTokenizer.from_file(str(unigram))
        fast.add_tokens([AddedToken(content, normalized=normalized, lstrip=True)])
        path = tmp_path / "tokenizer.json"
        fast.save(str(path))
        for spec in (TextSpec(64), TextSpec(64, normalize="nfc", lower=True)):
            texts = ["ŒUVREna de vie", "x œuvreni", "n\u0301ani", "ab cd", "abab  cd cd", "Œuvre"]
            ours, whole = opened(path, spec), Tokenizer.open(path, spec)
            check(ours, whole, texts)
            check(ours, whole, [*TEXTS[:9], *texts], limit=7)


def test_words_and_places_are_read_by_the_library(unigram: Path) -> None:
    whole, ours = Tokenizer.open(unigram, TextSpec(512)), opened(unigram, TextSpec(512))
    [a], [b] = (t.encode_words([["Nairobi", "", "ni"]]) for t in (ours, whole))
    assert a.words is not None
    assert b.words is not None
    assert (a.ids.tolist(), a.words.tolist()) == (b.ids.tolist(), b.words.tolist())
    [a], [b] = (t.encode(["Habari ya"], ["leo"], details=True) for t in (ours, whole))
    assert a.offsets is not None
    assert b.offsets is not None
    assert (a.ids.tolist(), a.offsets.tolist()) == (b.ids.tolist(), b.offsets.tolist())


@pytest.mark.parametrize(
    "change", [{"byte_fallback": True}, {"unk_id": None}, {"alpha": 0.1}, {"type": "BPE"}]
)
def test_another_kind_of_tokenizer_is_the_librarys(
    unigram: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    facts = json.loads(unigram.read_bytes())
    if "type" in change:
        facts["model"] = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
        facts["added_tokens"], facts["post_processor"] = [], None
    facts["model"] |= change
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(facts))
    found = open_compact(path, TextSpec(512))
    assert type(found) is Tokenizer
    assert found.encode(["a"])


def test_without_a_compiler_it_is_the_librarys(
    unigram: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    # It is compiled once for a process.
    monkeypatch.setattr(unigram_module, "_native", unigram_module._native.__wrapped__)
    found = open_compact(unigram, TextSpec(512))
    assert type(found) is Tokenizer
    check(found, Tokenizer.open(unigram, TextSpec(512)), TEXTS[:5])


def test_scores_are_read_as_the_library_reads_them() -> None:
    """Its reader is a bit off in one number of ten, which decides between cuts of equal score."""
    generator = np.random.default_rng(0)
    numbers = [
        repr(-float(x)) for x in generator.random(2000) * generator.choice([1, 20, 1e-7], 2000)
    ]
    numbers += [f"-{x:.25f}" for x in generator.random(200)] + ["-1.5e3", "2.25E-5", "-0.0", "1e2"]
    facts = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
    }  # fmt: skip
    vocabulary = ",".join(f'["w{i}", {number}]' for i, number in enumerate(numbers))
    model = f'{{"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [{vocabulary}]}}'
    library = FastTokenizer.from_str(json.dumps(facts)[:-1] + f', "model": {model}}}')
    read = [score for _, score in json.loads(library.to_str())["model"]["vocab"]]
    assert [read_score(number) for number in numbers] == read
    assert sum(float(a) != b for a, b in zip(numbers, read, strict=True)) > 50
    with pytest.raises(ValueError, match="no score"):
        read_score("1e-400")


def test_a_piece_lies_within_one_word() -> None:
    pieces = Unigram([("?", 0.0), ("a", -1.0), ("aa", -1.5)], 0, [7])
    assert pieces.cut([97, 97, 256, 97, 97], [0, 0, 1, 2, 3]).tolist() == [2, 7, 1, 1]
    assert pieces.cut([], []).tolist() == []
