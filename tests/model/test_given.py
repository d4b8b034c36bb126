"""What Python code hands over: everything that holds texts in an order, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xopt
from xopt.artifacts import Bundle
from xopt.errors import InputError
from xopt.model.asking import Asking
from xopt.model.given import pairs_of, sentences_of, texts_of
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


def test_columns_of_tables_and_tables() -> None:
    import pandas
    import pyarrow

    plain = pyarrow.array(TEXTS)
    table = pyarrow.table({"first": plain, "second": plain})
    frame = pandas.DataFrame({"first": TEXTS, "second": TEXTS})
    columns = [plain, plain.dictionary_encode(), table["first"], frame["first"]]
    for column in [*columns, frame["first"].astype("category")]:
        assert texts_of(column) == TEXTS
    assert pairs_of(zip(table["first"].to_pylist(), frame["second"], strict=True))[1] == TEXTS
    with pytest.raises(InputError, match="Text 2 of texts is None"):
        texts_of(pyarrow.array(["a", None]))
    # A data frame gives the names of its columns, which would be answered like texts.
    for given in (table, frame):
        for read in (texts_of, pairs_of, sentences_of):
            with pytest.raises(InputError, match="a table with columns") as found:
                read(given)
            assert "one of its columns" in found.value.hint


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"truncate": "no"}, "truncate is 'no'"), ({"truncate": None}, "truncate is None"),
        ({"normalize": "yes"}, "normalize is 'yes'"), ({"windows": 0}, "windows is 0"),
        ({"prompt": "\ud83d "}, "The prompt is not valid UTF-8"),
    ],
)  # fmt: skip
def test_how_texts_are_asked_is_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Asking(**wrong)


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
