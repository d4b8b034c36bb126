"""``xopt bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xopt.artifacts import Bundle
from xopt.cli.app import app
from xopt.cli.common import BundleArgument, JsonOption, find_bundle
from xopt.cli.output import bars, print_json, table
from xopt.engines.base import Engine, open_engine
from xopt.errors import InputError, did_you_mean
from xopt.evaluate.work import WORK, bench_engines
from xopt.evidence import known_builds
from xopt.host import host_facts

__all__ = ["bench"]


@app.command(epilog="Example:  xopt bench bundles/e5-int8 --against bundles/e5-fp32 --work mixed32")
def bench(
    bundle: BundleArgument = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="A second bundle, or fp32 for the newest fp32 bundle of this checkpoint."
        ),
    ] = None,
    work: Annotated[
        str | None, typer.Option(help=f"Comma-separated: {', '.join(WORK)}. All by default.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Timed runs of each case.")] = 15,
    threads: Annotated[
        int | None, typer.Option(help="Cores to use, on the CPU; all by default.")
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(
            help="Parts of a batch side by side, on the CPU; as many as cores by default."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time a bundle's engine, alone or side by side with another in one interleaved run."""
    names = work.split(",") if work else list(WORK)
    for name in names:
        if name not in WORK:
            raise InputError(f"Unknown work {name!r}.", hint=did_you_mean(name, WORK))
    first = find_bundle(bundle)
    bundles = {_title(first): first}
    if against is not None:
        second = _reference(first) if against == "fp32" else Bundle.open(Path(against))
        title = _title(second)
        bundles[f"{second.folder} ({second.precision})" if title in bundles else title] = second
    engines: dict[str, Engine] = {}
    try:
        for title, one in bundles.items():
            engines[title] = open_engine(one, **_options(one, threads, streams))
        with bars(quiet=as_json) as progress:
            cases = bench_engines(engines, names, repeat=repeat, progress=progress)
    finally:
        for engine in engines.values():
            engine.close()
    document: dict[str, Any] = {
        "schema": "xopt-bench/1",
        "command": "xopt " + " ".join(sys.argv[1:]),
        "host": host_facts(),
        "bundles": {title: b.fingerprint for title, b in bundles.items()},
        "cases": cases,
    }
    if as_json:
        print_json(document)
        return
    rows = [
        [
            case,
            title,
            f"{t['median_ms']:.2f}",
            f"{min(t['samples_ms']):.2f}",
            f"{t['tokens_per_s']:,.0f}",
        ]
        for case, timed in cases.items()
        for title, t in timed.items()
    ]
    table("engine alone", ["work", "bundle", "median ms", "min ms", "tokens/s"], rows, left=2)


def _options(bundle: Bundle, threads: int | None, streams: int | None) -> dict[str, Any]:
    counts = {"threads": threads, "streams": streams}
    asked = {name: count for name, count in counts.items() if count is not None}
    if asked and bundle.target != "openvino":
        raise InputError(
            f"{' and '.join(asked)}: of the CPU; {bundle.folder} runs on {bundle.target}.",
            hint="Leave the option out.",
        )
    return asked


def _title(bundle: Bundle) -> str:
    return f"{bundle.folder.name} ({bundle.precision})"


def _reference(bundle: Bundle) -> Bundle:
    checkpoint = bundle.manifest["provenance"]["checkpoint"]
    for entry in known_builds():
        other = Bundle.open(Path(entry["folder"]))
        same = other.manifest["provenance"]["checkpoint"] == checkpoint
        if same and other.precision == "fp32":
            return other
    raise InputError(
        "There is no fp32 bundle of this checkpoint on this machine.",
        hint="Build it with: xopt build --precision fp32 (and the same checkpoint)",
    )
