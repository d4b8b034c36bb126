"""NFC by Python's own tables, and offsets by where the characters were put together."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xopt.composing import compose
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

DECOMPOSED = {
    "de": "Grüße aus Köln",
    "ko": "한국어를 배웁니다",
    "vi": "Tiếng Việt có dấu",
    "ta": "கொடுத்தான் கௌரி",
    "bn": "কোথায় যৌথ",
    "ja": "ガギグゲゴ パピプ",
    "hi": "क़लम ज़रूर",
    "si": "කෝකිලයා",
    "th": "กำลังเรียน",
    "el": "Ἀθῆναι",
    "ar": "أَلِفٌ مُؤْمِن",
    "my": "ဦးစီး",
}


def decompose(text: str) -> tuple[str, list[tuple[int, int]]]:
    """NFD, and the place in it of every character of ``text``."""
    made, places = "", []
    for character in text:
        piece = unicodedata.normalize("NFD", character)
        places.append((len(made), len(made) + len(piece)))
        made += piece
    return made, places


def test_every_composable_character_is_composed_and_found_again() -> None:
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        apart = unicodedata.normalize("NFD", character)
        if apart == character or 0xD800 <= number < 0xE000:
            continue
        found = compose(f"a{apart}b")
        whole = unicodedata.normalize("NFC", f"a{apart}b")
        if found is None:
            assert whole == f"a{apart}b"
            continue
        assert found.text == whole
        assert found.starts[-2:].tolist() == [1 + len(apart), 2 + len(apart)]


JOINS = "aeouAZ가ᄀ하ᅢᆨᆫ한क়েো\u0301\u0323\u031b\u0308\u0302\u093c\u09be\u09c7\u0bc6\u0bbe\u3099 1かハ"


@settings(max_examples=150)
@given(st.text(st.sampled_from(JOINS)) | st.text())
def test_composing_piece_by_piece_is_composing_the_whole(text: str) -> None:
    whole = unicodedata.normalize("NFC", text)
    found = compose(text)
    assert (text if found is None else found.text) == whole
    if found is None:
        return
    assert len(found.starts) == len(found.stops) == len(whole) + 1
    assert (np.diff(found.starts) >= 0).all()
    assert (np.diff(found.stops) >= 0).all()
    assert (found.starts <= found.stops).all()


@pytest.mark.parametrize("code", DECOMPOSED)
def test_offsets_are_those_of_the_given_text(tokenizer_file: Path, code: str) -> None:
    text = unicodedata.normalize("NFC", DECOMPOSED[code])
    apart, places = decompose(text)
    plain = Tokenizer.open(tokenizer_file, 256)
    ours = Tokenizer.open(tokenizer_file, TextSpec(256, normalize="nfc"))
    [expected] = plain.encode([text], details=True)
    [found] = ours.encode([apart], details=True)
    assert found.ids.tolist() == expected.ids.tolist()
    assert expected.offsets is not None
    assert found.offsets is not None
    for (a, b), (c, d) in zip(expected.offsets, found.offsets, strict=True):
        if b > a:
            assert (c, d) == (places[a][0], places[b - 1][1])
            assert unicodedata.normalize("NFC", apart[c:d]) == text[a:b]


def test_pairs_and_words_have_offsets_of_their_own(tokenizer_file: Path) -> None:
    ours = Tokenizer.open(tokenizer_file, TextSpec(256, normalize="nfc"))
    first, second = (decompose(DECOMPOSED[code])[0] for code in ("vi", "ko"))
    [found] = ours.encode([first], [second], details=True)
    assert found.offsets is not None
    assert found.sequence is not None
    for number, text in enumerate((first, second)):
        assert found.offsets[found.sequence == number].max() == len(text)
    words = ["plain", *first.split(), second]
    [found] = ours.encode_words([words])
    assert found.offsets is not None
    assert found.words is not None
    for number, word in enumerate(words):
        assert found.offsets[found.words == number].max() == len(word)
    same = ours.encode_words([[unicodedata.normalize("NFC", word) for word in words]])[0]
    assert found.ids.tolist() == same.ids.tolist()


def test_lower_is_what_sentence_transformers_puts_before_the_normalizer(
    tokenizer_file: Path,
) -> None:
    ours = Tokenizer.open(tokenizer_file, TextSpec(64, lower=True))
    plain = Tokenizer.open(tokenizer_file, 64)
    # Special tokens keep their names: the step is the tokenizer's, not the text's.
    texts = ["Guten MORGEN", "ΣΊΣΥΦΟΣ", "<s> AB </s>"]
    lowered = ["guten morgen", "σίσυφοσ", "<s> ab </s>"]
    for a, b in zip(ours.encode(texts), plain.encode(lowered), strict=True):
        assert a.ids.tolist() == b.ids.tolist()


def test_a_manifest_says_how_texts_are_read() -> None:
    from xopt.errors import ArtifactError

    spec = TextSpec(128, "nfc", True, {"query": "query: "}, "query", (0, 2))
    assert TextSpec.read({"text": spec.manifest()}) == spec
    assert TextSpec.read({"signature": {"max_tokens": 77}}) == TextSpec(77)
    for wrong in ({"max_tokens": 5, "colour": 1}, {"max_tokens": 5, "normalize": "nfkc"}):
        with pytest.raises(ArtifactError, match="this xopt does not know"):
            TextSpec.read({"text": wrong})
