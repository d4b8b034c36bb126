"""What Python code hands over: everything that holds texts in an order, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xopt
from xopt.artifacts import Bundle
from xopt.errors import InputError
from xopt.model.given import pairs_of, sentences_of, texts_of
from xopt.model.results import Prediction
from xopt.model.texts import Row

Bundles = Callable[..., Bundle]
TEXTS = ["Habari", "Доброе утро", "नमस्ते"]


@pytest.mark.parametrize(
    "given",
    [
        TEXTS, tuple(TEXTS), iter(TEXTS), (t for t in TEXTS), np.array(TEXTS),
        np.array(TEXTS, object), dict(enumerate(TEXTS)).values(),
    ],
)  # fmt: skip
def test_texts_in_an_order(given: Any) -> None:
    assert texts_of(given) == TEXTS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", "texts is a single text"), (b"a", "texts is a single text"), (None, "texts is None"),
        ({"a": 1}, "texts is a dict"), ({"a", "b"}, "texts is a set"), (5, "texts is an int"),
        (np.array("a"), "cannot be read one by one"),
    ],
)  # fmt: skip
def test_what_holds_no_texts_is_named(given: Any, message: str) -> None:
    for read in (texts_of, pairs_of, sentences_of):
        with pytest.raises(InputError, match=message):
            read(given)


def test_pairs() -> None:
    given = ["a", ("b", "c"), ["d", "e"], np.array(["f", "g"])]
    assert pairs_of(given) == (["a", "b", "d", "f"], [None, "c", "e", "g"])
    assert pairs_of(np.array([["a", "b"], ["c", "d"]])) == (["a", "c"], ["b", "d"])
    for wrong, message in (
        (("a",), "Text 2 is a tuple of 1"), (("a", "b", "c"), "Text 2 is a tuple of 3"),
        ([], "Text 2 is a list of 0"), (b"ab", "Text 2 is a bytes"), (None, "Text 2 is None"),
        ({"text": "a"}, "Text 2 is a dict"), (("a", None), "Text 2, its pair, is None"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            pairs_of(["fine", wrong])


def test_sentences_in_words() -> None:
    given = ["a text", ["two", "words"], np.array(["an", "array"])]
    assert sentences_of(given) == ["a text", ("two", "words"), ("an", "array")]
    with pytest.raises(InputError, match="Text 2 is a bytes, neither a text nor a list of words"):
        sentences_of(["fine", b"ab"])


@pytest.mark.parametrize(
    ("text", "pair"), [(None, None), (b"a", None), (("a", None), None), ("a", b"b"), ("a", 3)]
)
def test_a_row_holds_texts(text: Any, pair: Any) -> None:
    with pytest.raises(InputError, match=r"Row 7.* is no text but"):
        Row(text, pair, "Row 7")


def test_calls_that_are_wrong_are_input_errors(bundles: Bundles) -> None:
    with xopt.load(bundles("encoder").folder) as model:
        expected = model.encode(TEXTS)
        np.testing.assert_array_equal(model.encode(text for text in TEXTS), expected)
        np.testing.assert_array_equal(model.encode(np.array(TEXTS)), expected)
        wrong: list[dict[str, Any]] = [
            {"texts": ["a", None]}, {"texts": ["a", 5]}, {"texts": ["a"], "prompt": 5},
            {"texts": ["a"], "prompt_name": b"x"}, {"texts": ["a"], "batch_tokens": "4"},
            {"texts": ["a"], "batch_tokens": 0}, {"texts": [["a", "b"]]},
        ]  # fmt: skip
        for options in wrong:
            with pytest.raises(InputError):
                model.encode(**options)
        np.testing.assert_array_equal(model.encode(TEXTS), expected)
    for path in (None, 5):
        with pytest.raises(InputError, match="The path is"):
            xopt.load(path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="threads is '2'"):
        xopt.load(bundles("encoder").folder, threads="2")  # type: ignore[arg-type]


def test_labels_of_one_name_keep_their_values() -> None:
    values = np.array([0.5, 0.25, 0.125, 0.125], np.float32)
    found = Prediction(("a", "b", "a", "c"), values, "probability", values, 3)
    assert found.label == "a"
    assert found.named() == {"a (0)": 0.5, "b": 0.25, "a (2)": 0.125, "c": 0.125}
