"""Options that read the same in every command, and the bundle a command works on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from xopt.artifacts import Bundle
from xopt.engines.base import PREDICTABLE, open_engine
from xopt.errors import InputError, MissingExtraError, UnsupportedError
from xopt.evidence import known_builds

__all__ = [
    "BundleArgument",
    "JsonOption",
    "StreamsOption",
    "ThreadsOption",
    "find_bundle",
    "first_that_runs",
    "refuse_what_cannot_run",
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ThreadsOption = Annotated[int | None, typer.Option(help="Cores to use, on the CPU. Default: all.")]
StreamsOption = Annotated[
    int | None,
    typer.Option(help="Parts of a batch side by side, on the CPU. Default: as many as cores."),
]
BundleArgument = Annotated[
    str | None,
    typer.Argument(help="Bundle folder; by default the newest one built here that fits."),
]


def first_that_runs(bundles: Sequence[Bundle]) -> Bundle:
    """The first that this machine can run; the first of all where it can run none.

    Whoever opens that one is told why it does not run. What runs on the CPU is taken to run here.
    """
    for bundle in bundles:
        if bundle.target == "openvino":
            return bundle
        with contextlib.suppress(UnsupportedError, MissingExtraError):
            open_engine(bundle).close()
            return bundle
    return bundles[0]


def refuse_what_cannot_run(bundle: Bundle, *, predict: bool = False) -> None:
    """Before minutes are spent on what ``bundle`` would stand beside.

    Args:
        bundle: what runs on the CPU is taken to run here.
        predict: its portable graph will do.

    Raises:
        UnsupportedError: this machine cannot run it.
        MissingExtraError: its library is not installed.
    """
    if bundle.target != "openvino" and not (predict and bundle.target in PREDICTABLE):
        open_engine(bundle).close()


def _opened(entry: Mapping[str, Any]) -> Bundle:
    return Bundle.open(Path(entry["folder"]))


def find_bundle(name: str | None, *, head: str | None = None) -> Bundle:
    """The bundle ``name``, or the newest one built here that has this head and runs here.

    Raises:
        InputError: none is known.
        ArtifactError: the folder is no bundle.
    """
    if name is not None:
        return Bundle.open(Path(name))
    fitting = [
        bundle
        for bundle in map(_opened, known_builds())
        if bundle.precision != "fp32" and (head is None or bundle.head["kind"] == head)
    ]
    if fitting:
        return first_that_runs(fitting)
    what = f" with the head {head!r}" if head else ""
    raise InputError(
        f"No bundle{what} was built on this machine yet.",
        hint="Build one with: xopt build --precision int8",
    )
