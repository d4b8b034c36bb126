"""A tokenizer of few pieces gives the ids that the whole one gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from xopt.calibrate.corpus import load_corpus
from xopt.model import few
from xopt.model.few import FewPieces, open_few
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

TEXTS = [text for _, text in load_corpus().rows]
ODD = [
    "a <mask> b",
    "\u1100\u1161",
    "e\u0301te\u0301",
    "x" * 40,
    "\U0010ffff",
    "\x00\t",
    "ﬁ①",
    " a  b ",
]


@pytest.mark.parametrize("spec", [TextSpec(512), TextSpec(48, normalize="nfc", lower=True)])
def test_the_ids_are_those_of_the_whole_tokenizer(
    unigram: Path, spec: TextSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few, "LEAST", 100)
    whole = Tokenizer.open(unigram, spec)
    groups = [TEXTS[start : start + 6] for start in range(0, 240, 6)]
    for texts in [*groups, *([text, "Habari"] for text in ODD)]:
        ours = open_few(unigram, spec, texts)
        cut_down = isinstance(ours, FewPieces)
        assert cut_down or "<mask>" in texts[0]
        if isinstance(ours, FewPieces):
            assert len(ours.numbers) < 1000
        for pairs in (None, texts[::-1]):
            found = ours.encode(texts, pairs)
            expected = whole.encode(texts, pairs)
            assert [e.ids.tolist() for e in found] == [e.ids.tolist() for e in expected]
            assert [e.type_ids.tolist() for e in found] == [e.type_ids.tolist() for e in expected]


@pytest.mark.parametrize(
    ("content", "spec"),
    [("Œuvre", TextSpec(64, lower=True)), ("ńa", TextSpec(64, normalize="nfc"))],
)
def test_an_added_token_that_stands_in_a_text_in_another_form(
    unigram: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, spec: TextSpec
) -> None:
    """It is looked for where the text, and often the token itself, was composed and normalized.

    What stands behind it begins with a blank's mark then, which stands nowhere in the text.
    """
    monkeypatch.setattr(few, "LEAST", 100)
    fast = FastTokenizer.from_file(str(unigram))
    fast.add_tokens([AddedToken(content, normalized=spec.lower)])
    path = tmp_path / "tokenizer.json"
    fast.save(str(path))
    whole = Tokenizer.open(path, spec)
    for text in ("ŒUVREna de vie", "œuvreni", "n\u0301ani", "plain"):
        [expected] = whole.encode([text])
        [found] = open_few(path, spec, [text]).encode([text])
        assert found.ids.tolist() == expected.ids.tolist(), text
    assert fast.token_to_id(content) in whole.encode(["œuvreni n\u0301ani"])[0].ids


def test_a_text_that_was_not_known_is_read_whole(
    unigram: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few, "LEAST", 100)
    ours = open_few(unigram, TextSpec(512), ["Habari"])
    whole = Tokenizer.open(unigram, TextSpec(512))
    for text in TEXTS[:5]:
        assert ours.encode([text])[0].ids.tolist() == whole.encode([text])[0].ids.tolist()
    words = ours.encode_words([["Nairobi", "ni"]])[0]
    assert words.ids.tolist() == whole.encode_words([["Nairobi", "ni"]])[0].ids.tolist()


def test_another_kind_of_tokenizer_is_read_whole(tokenizer_file: Path) -> None:
    assert not isinstance(open_few(tokenizer_file, TextSpec(512), ["Habari"]), FewPieces)
