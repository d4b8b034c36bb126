"""The form that a JSON document must have, checked once where it is read.

A form is a type (``float`` takes whole numbers too, ``int`` takes no truth value), a tuple of the
values that are possible, ``[form]`` for a list, :class:`Exactly` for a list of a known length,
:class:`Table` for an object of any keys, :class:`Maybe` for what can be null, :class:`Either` for
one of two, :data:`COUNT` for a number of things, or an object of forms by key, where a key that
ends in ``?`` may be absent. Keys that a form does not name are left alone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xopt.errors import ArtifactError, XoptError

__all__ = [
    "COUNT", "WORDS", "Either", "Exactly", "Maybe", "Table", "in_words", "misfit", "reads",
    "spelled",
]  # fmt: skip

# No figure of ours is larger; neither infinity nor "not a number" is below it.
MOST = 1e300
# Begins of what Python says where a value is no number, or not as many as are taken.
OF_PYTHON = ("could not convert", "invalid literal", "too many values", "not enough values")
WORDS = {
    bool: "true or false", dict: "an object", float: "a number", int: "a whole number",
    list: "a list", str: "text",
}  # fmt: skip


@dataclass(frozen=True)
class Within:
    """A whole number from ``least`` to ``most``."""

    least: int
    most: int


# Of tokens, rows, layers: two of them added are still a number of 32 bits.
COUNT = Within(0, 2**30)


@dataclass(frozen=True)
class Either:
    """One form or the other."""

    one: Any
    other: Any


@dataclass(frozen=True)
class Exactly:
    """A list of so many, each with the form."""

    count: int
    form: Any


@dataclass(frozen=True)
class Maybe:
    """Null, or the form."""

    form: Any


@dataclass(frozen=True)
class Table:
    """An object of any keys, each with the form."""

    form: Any


def misfit(value: Any, form: Any, place: str = "") -> str | None:
    """What does not fit and what belongs there, in words; None if all fits.

    Args:
        value: as JSON gives it.
        form: see above.
        place: what the value is called; keys are put behind it.
    """
    if form is Any or (isinstance(form, Maybe) and value is None):
        return None
    if isinstance(form, Maybe):
        return misfit(value, form.form, place)
    if isinstance(form, Exactly):
        if isinstance(value, list) and len(value) != form.count:
            return f"{place or 'it'} has {len(value)} values, not {form.count}"
        return misfit(value, [form.form], place)
    if isinstance(form, Either):
        said = misfit(value, form.one, place)
        return said and misfit(value, form.other, place) and said
    if isinstance(form, Within):
        fits = _is(value, int) and form.least <= value <= form.most
        wanted = f"a whole number from {form.least} to {form.most}"
        return None if fits else _said(place, value, wanted)
    if isinstance(form, tuple):
        fits = any(type(value) is type(one) and value == one for one in form)
        return None if fits else _said(place, value, f"one of {', '.join(map(str, form))}")
    if isinstance(form, type):
        return None if _is(value, form) else _said(place, value, WORDS[form])
    if isinstance(form, list):
        if not isinstance(value, list):
            return _said(place, value, WORDS[list])
        parts = [(f"{place}[{number}]", found, form[0]) for number, found in enumerate(value)]
    elif not isinstance(value, dict):
        return _said(place, value, WORDS[dict])
    elif isinstance(form, Table):
        parts = [(_behind(place, key), found, form.form) for key, found in value.items()]
    else:
        return _object(value, form, place)
    return next(
        (said for name, found, inner in parts if (said := misfit(found, inner, name))), None
    )


def _object(value: Mapping[str, Any], form: Mapping[str, Any], place: str) -> str | None:
    for written, inner in form.items():
        key = written.removesuffix("?")
        if key not in value:
            if written.endswith("?"):
                continue
            return f"it lacks {_behind(place, key)}"
        if said := misfit(value[key], inner, _behind(place, key)):
            return said
    return None


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) < MOST
    if kind is int:
        return type(value) is int and -(2**63) <= value < 2**63
    return isinstance(value, kind)


def _behind(place: str, key: str) -> str:
    return f"{place}.{key}" if place else str(key)


def _said(place: str, value: Any, wanted: str) -> str:
    return f"{place or 'it'} is {spelled(value)}, not {wanted}"


def spelled(value: Any) -> str:
    """A value of a JSON or TOML document, up to 60 characters of it, as the document has it.

    So null and true, where Python would say None and True; text stands in single quotes, as every
    name in a message does.
    """
    if isinstance(value, str):
        return f"{value!r:.60}"
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:60]
    except (TypeError, ValueError):
        return f"{value!r:.60}"


def in_words(error: Exception) -> str:
    """What an error says of a document whose reader met it, without names of Python's types."""
    if isinstance(error, KeyError):
        return f"it lacks {', '.join(map(spelled, error.args))}"
    if not isinstance(error, ValueError | OSError) or str(error).startswith(OF_PYTHON):
        return "something in it has another form than this xopt reads"
    return str(error)


@contextlib.contextmanager
def reads(
    what: str, *, hint: str = "Build it again.", error: type[XoptError] = ArtifactError
) -> Iterator[None]:
    """Around what takes a document apart: says ``what`` and why where its form is another.

    Raises:
        XoptError: of the kind ``error``.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as fault:
        raise error(f"{what}: {in_words(fault)}.", hint=hint) from fault
