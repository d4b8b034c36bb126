"""Whether a document can be shown: its schema, its form, and what its figures say of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from xopt.errors import InputError
from xopt.forms import misfit
from xopt.report.shapes import SHAPES

__all__ = ["AGAIN", "check"]

# The newest schema of every kind that is read.
NEWEST = 1
AGAIN = "Make the document again with the command that printed it."
Document = Mapping[str, Any]


def check(kind: str, document: Document, where: str) -> Document:
    """The document itself.

    Raises:
        InputError: a page would show it wrongly; ``where`` and the reason are named.
    """
    schema = document.get("schema")
    if schema is not None:
        stated, _, version = str(schema).partition("/")
        digits = version.isascii() and version.isdigit() and version.lstrip("0")
        if stated != f"xopt-{kind}" or not digits or int(version) > NEWEST:
            raise InputError(
                f"{where} has the schema {schema}; this xopt reads xopt-{kind}/{NEWEST}.",
                hint="Make the document again, or install the xopt that made it.",
            )
    wrong = misfit(document, SHAPES[kind]) or next(SENSES[kind](document), None)
    if wrong:
        raise InputError(f"{where} is damaged: {wrong}.", hint=AGAIN)
    return document


def _eval(document: Document) -> Iterator[str]:
    languages = document["languages"]
    if not languages:
        yield "it scores no language"
    if document["worst"]["language"] not in languages:
        yield "its worst language was not scored"
    if document["reference_throughput"]["tokens_per_s"] <= 0:
        yield "its reference took no time"
    if document["throughput"]["tokens_per_s"] <= 0:
        yield "its throughput is no speed"
    if document.get("in_turn", {}).get("faster", 1) <= 0:
        yield "its engines in turn took no time"
    for code, found in languages.items():
        if not code.strip():
            yield "a language has no code"
        if found["n"] < 1:
            yield f"{code} has {found['n']} examples"
    means = {"mean": document["mean"], **document.get("parts", {})}
    for name, found in (languages | means).items():
        low, high = found.get("ci95", (0, 0))
        if low > high:
            yield f"the interval of {name} ends before it begins"
    for side in ("throughput", "reference_throughput"):
        lengths = document[side].get("length_percentiles", [])
        if any(a > b for a, b in pairwise(lengths)):
            yield f"{side}.length_percentiles fall"


def _bench(document: Document) -> Iterator[str]:
    for case, timed in document["cases"].items():
        if not timed or any(
            found["median_ms"] <= 0 or not found["samples_ms"] or min(found["samples_ms"]) <= 0
            for found in timed.values()
        ):
            yield f"{case}: a case has no times"
    for case, timed in (document.get("profile") or {}).items():
        if not all(found["shares"] for found in timed.values()):
            yield f"the profile of {case} has no shares"


def _sweep(document: Document) -> Iterator[str]:
    for target, points in document["pareto"].items():
        if any(point["tokens_per_s"] <= 0 for point in points):
            yield f"a choice of {target} has no speed"


def _search(document: Document) -> Iterator[str]:
    if not document["sites"] or not all(found["errors"] for found in document["sites"].values()):
        yield "a site was not measured"


SENSES: Mapping[str, Callable[[Document], Iterator[str]]] = {
    "eval": _eval,
    "bench": _bench,
    "sweep": _sweep,
    "search": _search,
}
