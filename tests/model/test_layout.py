"""Words that a tokenizer cannot read, with an unknown token of any name and without one."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, pre_tokenizers, processors

from xopt.errors import InputError
from xopt.model.finishing import finish
from xopt.model.head import Head
from xopt.model.layout import Frame, read_sentences, read_words
from xopt.model.results import Answer
from xopt.model.spans import find_span, read_windows
from xopt.model.texts import Row
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
    with pytest.raises(InputError, match="Text 7, word 2, has 0 tokens"):
        read_sentences(tokenizer, [["a", ""]], ["Text 7"])


@pytest.mark.parametrize("words", [["ab" * 40], ["a", "b", "ab" * 40, "b"]])
def test_of_a_word_that_fills_a_part_the_first_tokens_are_read(words: list[str]) -> None:
    """As transformers cuts a sentence; XTREME's own layout has the unknown token there."""
    tokenizer = framed("ab", "[C] $A [S] $B [S]")
    [parts] = read_sentences(tokenizer, [words], ["Text 1"])
    place = words.index("ab" * 40)
    [whole] = tokenizer.encode_words([[words[place]]], max_tokens=tokenizer.max_tokens)
    assert parts[place > 0].ids.tolist() == whole.ids.tolist()
    counts = [number for part in parts if part.words is not None for number in part.words if number]
    assert counts == list(range(1, len(words) + 1))


def test_a_context_is_answered_where_the_question_has_the_highest_logits() -> None:
    tokenizer = framed("ab", "[C] $A [S] $B [S]")
    windows = read_windows(tokenizer, ["abababab"], ["ba"], window=16, max_query=8)[0]
    logits = [np.zeros((len(window), 2), np.float32) for window in windows]
    logits[0][:9] = 5.0
    assert find_span(windows, logits, n_best=4).score == -np.inf
    head, row = Head("span"), Row("abababab", "ba")
    logits[0][-2] = 1.0
    found = finish(head, row, windows, [part - np.float32(50) for part in logits])
    assert isinstance(found, Answer)
    assert (found.text, found.start, found.stop) == ("a", 1, 2)


def framed(letters: str, pair: str) -> Tokenizer:
    """Letters are tokens; any other is dropped. ``pair`` is the template of two texts."""
    names = ["[C]", "[S]", *letters]
    fast = FastTokenizer(models.BPE({name: n for n, name in enumerate(names)}, []))
    fast.post_processor = processors.TemplateProcessing(
        single="[C] $A [S]", pair=pair, special_tokens=[("[C]", 0), ("[S]", 1)]
    )
    return Tokenizer(fast, TextSpec(16))


@pytest.mark.parametrize(
    "pair",
    [
        "[C] $A [S] $B:1 [S]:1",
        "[C]:1 $A:1 [S]:1 $B:0 [S]:0",
        "[C] $A [S] [S]:1 $B:1 [S]:0",
        "$A [S] $B:1 [S]:1 [C]:2",
    ],
)
@pytest.mark.parametrize("letters", ["ሰላምፋ", "سلام", "ab"])
def test_a_window_is_what_the_tokenizer_makes_of_a_pair(letters: str, pair: str) -> None:
    """A tokenizer may know the letters of one script alone, and number the texts in its own way."""
    tokenizer = framed(letters, pair)
    question, context = letters[:2], letters[::-1]
    [expected] = tokenizer.encode([question], [context])
    [[found]] = read_windows(tokenizer, [question], [context], window=16, max_query=4)
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.type_ids.tolist() == expected.type_ids.tolist()


def test_a_tokenizer_that_puts_the_second_text_first_has_no_windows() -> None:
    with pytest.raises(InputError, match="does not put the second text"):
        Frame.read(framed("ab", "[C] $B:1 [S] $A [S]"))
