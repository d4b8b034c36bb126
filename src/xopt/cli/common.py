"""Options that read the same in every command, and the bundle a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xopt.artifacts import Bundle
from xopt.errors import InputError
from xopt.evidence import known_builds

__all__ = ["BundleArgument", "JsonOption", "StreamsOption", "ThreadsOption", "find_bundle"]

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


def find_bundle(name: str | None, *, head: str | None = None) -> Bundle:
    """The bundle ``name``, or the newest one built on this machine that has this head.

    Raises:
        InputError: none is known.
        ArtifactError: the folder is no bundle.
    """
    if name is not None:
        return Bundle.open(Path(name))
    for entry in known_builds():
        bundle = Bundle.open(Path(entry["folder"]))
        if bundle.precision != "fp32" and (head is None or bundle.head["kind"] == head):
            return bundle
    what = f" with the head {head!r}" if head else ""
    raise InputError(
        f"No bundle{what} was built on this machine yet.",
        hint="Build one with: xopt build --precision int8",
    )
