"""Forms of JSON documents: what fits, and what is said of what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xopt.errors import ArtifactError
from xopt.forms import COUNT, Either, Exactly, Maybe, Table, misfit, reads, spelled

FORM = {
    "name": str,
    "count": int,
    "tokens?": COUNT,
    "share?": Maybe(float),
    "kind": ("a", "b"),
    "rows": [{"x": float}],
    "by?": Table([int]),
    "pooling?": Either([str], str),
    "ends?": Exactly(2, float),
}
SOUND: dict[str, Any] = {"name": "n", "count": 1, "kind": "a", "rows": [{"x": 1}, {"x": 0.5}]}


@pytest.mark.parametrize(
    "more",
    [{}, {"share": None}, {"share": 1}, {"by": {"k": [1, 2]}}, {"pooling": "a"},
     {"pooling": ["a"]}, {"ends": [0, 1.5]}, {"tokens": 0},
     {"tokens": 2**30}, {"beyond": object()}],
)  # fmt: skip
def test_what_fits(more: dict[str, Any]) -> None:
    assert misfit(SOUND | more, FORM) is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": 1}, "name is 1, not text"),
        ({"count": True}, "count is true, not a whole number"),
        ({"count": 10**30}, "not a whole number"),
        ({"count": 1.0}, "count is 1.0, not a whole number"),
        ({"share": float("nan")}, "share is NaN, not a number"),
        ({"share": float("inf")}, "share is Infinity, not a number"),
        ({"share": 10**400}, "not a number"),
        ({"kind": "c"}, "kind is 'c', not one of a, b"),
        ({"rows": [{"x": 1}, {}]}, "it lacks rows[1].x"),
        ({"rows": {}}, "rows is {}, not a list"),
        ({"by": {"k": [1, None]}}, "by.k[1] is null, not a whole number"),
        ({"pooling": 3}, "pooling is 3, not a list"),
        ({"ends": [1.0]}, "ends has 1 values, not 2"),
        ({"ends": [1, "2"]}, "ends[1] is '2', not a number"),
        ({"tokens": -1}, "tokens is -1, not a whole number from 0 to 1073741824"),
        ({"tokens": 2**31}, "tokens is 2147483648, not a whole number from 0 to 1073741824"),
        ({"tokens": True}, "tokens is true, not a whole number from 0"),
        ({"ends": 1.0}, "ends is 1.0, not a list"),
    ],
)
def test_what_does_not_fit_is_named(more: dict[str, Any], said: str) -> None:
    assert said in str(misfit(SOUND | more, FORM))


def test_a_document_of_another_type_does_not_fit() -> None:
    assert misfit([], FORM) == "it is [], not an object"
    assert misfit({}, FORM) == "it lacks name"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"),
        ([True, {"a": None}], '[true, {"a": null}]'),
        ("a", "'a'"),
        ("b" * 70, "'" + "b" * 59),
        ([1] * 70, str([1] * 70)[:60]),
        ({1: {2}}, '{"1": "{2}"}'),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ],
)
def test_a_value_is_spelled_as_in_its_document(value: object, said: str) -> None:
    assert spelled(value) == said


@pytest.mark.parametrize(
    "take",
    [
        lambda document: document["lacking"],
        lambda document: document["nothing"]["x"],
        lambda document: document["nothing"].items(),
        lambda document: document["list"]["x"],
        lambda document: document["list"][3],
        lambda document: int(document["list"]),
        lambda document: Exactly(**document),
        lambda document: int(document["word"]),
    ],
)
def test_no_name_of_a_type_of_python_is_said(take: Callable[[Any], Any]) -> None:
    document = {"nothing": None, "list": [1], "word": "x"}
    with (
        pytest.raises(ArtifactError, match=r"^The document is damaged: ") as caught,
        reads("The document is damaged", hint="Write it again."),
    ):
        take(document)
    words = "NoneType", "dict", "'list'", "int()", "__init__", "KeyError", "TypeError"
    assert not [word for word in words if word in str(caught.value)]
    assert caught.value.hint == "Write it again."
