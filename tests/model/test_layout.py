"""Words that a tokenizer cannot read, with an unknown token of any name and without one."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, pre_tokenizers

from xopt.errors import InputError
from xopt.model.layout import Frame, read_sentences, read_words
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer


def make(model: models.Model, splitter: pre_tokenizers.PreTokenizer) -> Tokenizer:
    fast = FastTokenizer(model)
    fast.pre_tokenizer = splitter
    return Tokenizer(fast, TextSpec(8))


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        (models.Unigram([("a", -1.0), ("▁", -2.0), ("(none)", 0.0)], unk_id=2), 2),
        (models.WordLevel({"a": 0, "▁a": 1, "(none)": 2}, unk_token="(none)"), 2),
        (models.BPE({"a": 0, "▁": 1, "▁a": 2, "<unk>": 3}, [("▁", "a")], unk_token="<unk>"), 3),
    ],
)
def test_a_word_without_pieces_is_the_unknown_token(model: models.Model, unknown: int) -> None:
    tokenizer = make(model, pre_tokenizers.Metaspace())
    assert Frame.read(tokenizer).unknown == unknown
    [[found]] = read_words(tokenizer, [["a", "", "a"]], 8, extra_separator=False)
    assert found.words is not None
    assert found.words.sum() == 3
    assert found.ids[found.words == 1][1] == unknown


def test_a_byte_level_tokenizer_needs_no_unknown_token() -> None:
    alphabet = {letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer = make(models.BPE(alphabet, []), splitter)
    [[found]] = read_words(tokenizer, [["a", "b"]], 8, extra_separator=False)
    assert len(found) == 4
    for word, size in (("", 0), ("a" * 8, 9)):
        with pytest.raises(InputError, match=f"Text 7, word 2, has {size} tokens"):
            read_sentences(tokenizer, [["a", word]], ["Text 7"])
