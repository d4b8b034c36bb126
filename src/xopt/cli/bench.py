"""``xopt bench``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from xopt.artifacts import Bundle
from xopt.cli.app import app, examples
from xopt.cli.bench_lengths import DATA_ALONE, real_lengths
from xopt.cli.common import (
    BundleArgument,
    JsonOption,
    StreamsOption,
    ThreadsOption,
    find_bundle,
    refuse_what_cannot_run,
)
from xopt.cli.eval_bundles import NoWishes, with_reference
from xopt.cli.output import bars, console, error_console, print_json, table
from xopt.cli.speed_gate import speed_note
from xopt.engines.base import Engine, open_engine
from xopt.engines.opening import EngineOptions
from xopt.engines.profile import KINDS, Profiled, open_profiled
from xopt.errors import InputError, did_you_mean
from xopt.evaluate.lengths import DATA_SETS, RealLengths
from xopt.evaluate.work import WORK, Lengths, bench_engines, profile_engine
from xopt.evidence import built_with, known_builds
from xopt.hashing import cache_folder
from xopt.host import host_facts
from xopt.model.session import BATCH_TOKENS

__all__ = ["bench", "speed_notes"]


@app.command(
    short_help="Time a bundle's engine, alone or beside another.",
    epilog=examples(
        "xopt bench bundles/e5-int8 --against bundles/e5-fp32 --work mixed32",
        "xopt bench bundles/e5-int8 --lengths xnli --profile",
    ),
)
def bench(
    bundle: BundleArgument = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="A second bundle, or fp32: that of this checkpoint, built where there is none."
        ),
    ] = None,
    work: Annotated[
        str | None,
        typer.Option(
            help=f"Comma-separated: {', '.join(WORK)}. All by default, none with --lengths."
        ),
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option(
            help=f"Also the lengths of real texts: {', '.join(DATA_SETS)}, or a file of texts, or "
            "of one number on each line (.txt)."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="For a data set of --lengths: as xopt eval --data takes it."),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Also tell where the time goes, from the engine's own counters."
        ),
    ] = False,
    repeat: Annotated[int, typer.Option(min=1, help="Timed runs of each case.")] = 15,
    threads: ThreadsOption = None,
    streams: StreamsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time a bundle's engine, alone or side by side with another in one interleaved run."""
    names = [n.strip() for n in work.split(",")] if work else [] if lengths else list(WORK)
    for name in names:
        if name not in WORK:
            raise InputError(f"Unknown work {name!r}.", hint=did_you_mean(name, WORK))
    if data is not None and lengths is None:
        raise InputError(DATA_ALONE, hint=f"Add --lengths and one of {', '.join(DATA_SETS)}.")
    bundles = _bundles(find_bundle(bundle), against, quiet=as_json)
    cores = EngineOptions(threads, streams)
    options = {title: cores.of(b.target, b.folder.name) for title, b in bundles.items()}
    names = _that_fit(names, bundles, asked=work is not None)
    cases: dict[str, Lengths] = {name: [WORK[name]] for name in names}
    real: dict[str, RealLengths] = {}
    if lengths is not None:
        title = lengths if lengths in DATA_SETS else Path(lengths).name
        real[title] = real_lengths(next(iter(bundles.values())), lengths, data)
        cases[title] = real[title].batches(BATCH_TOKENS)
    # Opened first: an engine without counters refuses before anything is timed.
    counting: dict[str, Profiled] = {}
    engines: dict[str, Engine] = {}
    profiles: dict[str, dict[str, Any]] = {case: {} for case in cases}
    try:
        with bars(quiet=as_json) as progress:
            if profile:
                for title, one in bundles.items():
                    counting[title] = open_profiled(one, **options[title])
            for title, one in bundles.items():
                engines[title] = open_engine(one, **options[title])
            timed = bench_engines(engines, cases, repeat=repeat, progress=progress)
            for title, counter in counting.items():
                found = profile_engine(counter, cases, repeat=repeat, progress=progress)
                for case, shares in found.items():
                    profiles[case][title] = shares
    finally:
        for engine in engines.values():
            engine.close()
        for counter in counting.values():
            counter.close()
    document: dict[str, Any] = {
        "schema": "xopt-bench/1",
        "command": "xopt " + " ".join(sys.argv[1:]),
        "host": host_facts(),
        "bundles": {title: b.fingerprint for title, b in bundles.items()},
        "cases": timed,
        "lengths": {title: _facts(found) for title, found in real.items()},
        "cores": {title: found for title, found in options.items() if found},
    }
    notes = speed_notes(timed, {title: b.precision for title, b in bundles.items()})
    document["speed_notes"] = notes
    if profile:
        document["profile"] = profiles
    if as_json:
        print_json(document)
        return
    _show(timed)
    said = [f"{name}: {_described(WORK[name])}" for name in names]
    for title, texts in real.items():
        cut = f", {texts.cut} of them cut" if texts.cut else ""
        said.append(f"{title}: {_described(texts.tokens)}{cut}")
    console().print("; ".join(said), style="dim", markup=False, highlight=False)
    for note in notes:
        console().print(note, style="yellow", markup=False, highlight=False)
    for case, by_bundle in document.get("profile", {}).items():
        for title, found in by_bundle.items():
            _show_profile(f"{case}, {title}", found)


def speed_notes(timed: Mapping[str, Mapping[str, Any]], precisions: Mapping[str, str]) -> list[str]:
    """The cases in which an INT8 bundle is not faster than one of a higher precision.

    Args:
        timed: case -> title -> timing.
        precisions: of the bundles, by title.
    """
    int8 = [title for title, precision in precisions.items() if precision.startswith("int8")]
    other = [title for title in precisions if title not in int8]
    if not (int8 and other):
        return []
    found = [speed_note(by_title, int8[0], other[0], case) for case, by_title in timed.items()]
    return [note for note in found if note]


def _facts(found: RealLengths) -> dict[str, Any]:
    tokens = np.array(found.tokens)
    return {
        "source": found.source,
        "texts": len(tokens),
        "tokens": int(tokens.sum()),
        "median": float(np.median(tokens)),
        "longest": int(tokens.max()),
        "cut": found.cut,
    }


def _that_fit(names: list[str], bundles: Mapping[str, Bundle], *, asked: bool) -> list[str]:
    """The cases whose sentences every bundle takes.

    Raises:
        InputError: one that was asked for does not fit, or none does.
    """
    title, longest = min(
        ((title, int(b.manifest["signature"]["max_tokens"])) for title, b in bundles.items()),
        key=lambda found: found[1],
    )
    fit = [name for name in names if max(WORK[name]) <= longest]
    if fit == names:
        return names
    said = f"{title} takes sentences of at most {longest} tokens"
    if asked or not fit:
        possible = [name for name in WORK if max(WORK[name]) <= longest]
        raise InputError(
            f"{said}; longer are those of {', '.join(n for n in names if n not in fit)}.",
            hint=f"Type it again with --work {','.join(possible)}"
            if possible
            else "Time your own texts, or rows of a task: --lengths xnli --data sample",
        )
    left_out = ", ".join(name for name in names if name not in fit)
    error_console().print(f"{said}: {left_out} left out.", highlight=False, markup=False)
    return fit


def _described(lengths: Sequence[int]) -> str:
    """``8 × 64 tokens``, or how many sentences of which lengths."""
    low, high = min(lengths), max(lengths)
    of = f"{low}" if low == high else f"{low} to {high}"
    return f"{len(lengths)} × {of} tokens"


def _show(timed: Mapping[str, Mapping[str, Any]]) -> None:
    """A row of each bundle; beside a second one, how many times as fast the first one is."""
    rows = []
    two = any(len(by_bundle) > 1 for by_bundle in timed.values())
    for case, by_bundle in timed.items():
        medians = [t["median_ms"] for t in by_bundle.values()]
        for title, t in by_bundle.items():
            row = [
                case,
                title,
                f"{t['median_ms']:.2f}",
                f"{min(t['samples_ms']):.2f}",
                f"{t['tokens_per_s']:,.0f}",
            ]
            first = t is next(iter(by_bundle.values()))
            rows.append(row + ([f"{medians[-1] / medians[0]:.2f} ×" if first else ""] * two))
    columns = ["work", "bundle", "median ms", "min ms", "tokens/s"] + ["faster by"] * two
    table("engine alone", columns, rows, left=2)


def _show_profile(name: str, found: Mapping[str, Any]) -> None:
    """Percent of the time: a row of each layer, a column of each kind; a last row of all."""

    def row(title: str, shares: Mapping[str, float]) -> list[str]:
        values = [shares.get(kind, 0.0) for kind in KINDS]
        return [title, *(f"{100 * v:.1f}" for v in values), f"{100 * sum(values):.1f}"]

    places = found["layers"].items()
    rows = [row(p if not p.isdigit() else f"layer {p}", shares) for p, shares in places]
    rows.append(row("all", found["shares"]))
    title = f"where the time goes, %: {name}, {found['wall_ms']:.2f} ms"
    table(title, ["place", *KINDS, "sum"], rows)


def _bundles(first: Bundle, against: str | None, *, quiet: bool) -> dict[str, Bundle]:
    """The bundles by what the answer calls them."""
    bundles = {_title(first): first}
    if against is not None:
        second = _reference(first, quiet=quiet) if against == "fp32" else Bundle.open(Path(against))
        title = _title(second)
        # Two of one name are told apart, and a bundle beside itself is timed twice.
        place = f"{second.folder.resolve()} ({second.precision})"
        bundles[place if title in bundles else title] = second
    return bundles


def _title(bundle: Bundle) -> str:
    # What was built for the comparison has a digest for a name.
    cached = bundle.folder.resolve().is_relative_to(cache_folder().resolve())
    return f"{'reference' if cached else bundle.folder.name} ({bundle.precision})"


def _reference(bundle: Bundle, *, quiet: bool) -> Bundle:
    """The newest fp32 bundle of its checkpoint; where there is none, one that is built for it."""
    checkpoint = bundle.manifest["provenance"]["checkpoint"]
    for entry in known_builds():
        other = Bundle.open(Path(entry["folder"]))
        same = other.manifest["provenance"]["checkpoint"] == checkpoint
        if same and other.precision == "fp32":
            return other
    refuse_what_cannot_run(bundle)
    if built_with(bundle) is None:
        raise InputError(
            "There is no fp32 bundle of this checkpoint on this machine, and its checkpoint is not "
            "known here.",
            hint="Build it: xopt build CHECKPOINT --precision fp32 -o DIR; then add --against DIR",
        )
    with bars(quiet=quiet) as progress:
        return with_reference(bundle, NoWishes(), progress)[1]
