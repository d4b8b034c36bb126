"""``xopt build --max-drop``: the search, what it found, and whether INT8 is worth it here."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xopt.cli.build_show import document, show
from xopt.cli.output import bars, console, error_console, print_json, table
from xopt.cli.speed_gate import speed_note
from xopt.compile.options import BuildOptions
from xopt.compile.site_search import site_words
from xopt.engines.base import Engine, open_engine
from xopt.evaluate.lengths import RealLengths
from xopt.evaluate.statistics import Z95
from xopt.evaluate.work import bench_engines
from xopt.languages import language_name
from xopt.model.session import BATCH_TOKENS

if TYPE_CHECKING:
    from xopt.compile.mixing import Mixed

__all__ = ["build_within"]

REPEAT = 7
# Sites of the largest errors that are shown.
SHOWN = 8


def build_within(options: BuildOptions, *, quiet: bool) -> None:
    """Search, build, time what was built beside fp32, and say all of it.

    Args:
        options: with a floor.
        quiet: print one JSON document instead.
    """
    from xopt.compile.mixing import build_mix

    begin = time.perf_counter()
    with bars(quiet=quiet) as progress:
        mixed = build_mix(options, progress)
        seconds = round(time.perf_counter() - begin, 1)
        progress.stage("timing")
        times = _times(mixed)
    note = speed_note(times, "int8", "fp32")
    if note:
        note += f" Build it with: {options.exact_command()}"
    if quiet:
        said = {"search": mixed.search, "search_seconds": seconds, "time": times}
        said["speed_note"] = note or None
        print_json(document(mixed.result) | said)
        return
    show(mixed.result, options.task, options.data)
    _show_search(mixed.search)
    if mixed.search["kept"]:
        line = f"The same mix without a search: {by_hand(options, mixed.search)}"
        console().print(line, markup=False, highlight=False, soft_wrap=True)
    shown = ", ".join(f"{title} {found['median_ms']:.1f}" for title, found in times.items())
    out = console()
    out.print(f"Searched and built in {seconds:.0f} s", highlight=False)
    out.print(f"Time on the lengths of these rows, median ms: {shown}", highlight=False)
    if note:
        out.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


def by_hand(options: BuildOptions, search: Mapping[str, Any]) -> str:
    """What builds the mix that was found, to the place that a bundle has by default."""
    mix = {entry["site"]: entry["precision"] for entry in search["kept"]}
    return replace(options, out=None).command(*site_words(mix))


def _times(mixed: Mixed) -> dict[str, Any]:
    """The bundle, the fp32 reference and INT8 everywhere, calls in turn."""
    from xopt.compile.build import build_bundle

    bundles = {"int8": mixed.result.bundle}
    others = {"fp32": mixed.reference}
    if mixed.search["kept"]:
        others["int8 everywhere"] = mixed.rounded
    bundles |= {title: build_bundle(o, record=False).bundle for title, o in others.items()}
    work = RealLengths("rows of the search", mixed.lengths).batches(BATCH_TOKENS)
    engines: dict[str, Engine] = {}
    try:
        for title, bundle in bundles.items():
            engines[title] = open_engine(bundle)
        return bench_engines(engines, {"rows": work}, repeat=REPEAT)["rows"]
    finally:
        for engine in engines.values():
            engine.close()


def _show_search(search: Mapping[str, Any]) -> None:
    out = console()
    if search["said"]:
        error_console().print(search["said"], markup=False, highlight=False)
    errors = {site: found["errors"] for site, found in search["sites"].items()}
    means = {site: sum(found.values()) / len(found) for site, found in errors.items()}
    whole = sum(means.values()) or 1.0
    kept = {entry["site"]: entry["precision"] for entry in search["kept"]}
    rows = []
    for site in sorted(means, key=lambda name: -means[name])[:SHOWN]:
        worst = max(errors[site], key=lambda code: errors[site][code])
        rows.append(
            [
                site,
                kept.get(site, "INT8"),
                f"{means[site]:.2e}",
                f"{means[site] / whole:.1%}",
                f"{language_name(worst)} {errors[site][worst]:.2e}",
                f"{search['sites'][site]['cost']:.1%}",
            ]
        )
    columns = ["site", "is", search["metric"], "share", "worst language", "cost in fp32"]
    table(f"INT8 at one site alone: the {len(rows)} of {len(means)} that err most", columns, rows)
    checked = [
        [
            f"{language_name(code)} ({code})",
            f"{found['rows']:,}",
            f"{found['reference']:.2f}",
            f"{found['candidate']:.2f}",
            f"{found['difference']:+.2f}",
            f"[{found['ci95'][0]:+.2f}, {found['ci95'][1]:+.2f}]",
        ]
        for code, found in search["checked"].items()
    ]
    columns = ["language", "rows", "fp32", "this bundle", "difference", "95 % interval"]
    table(f"{search['task']} on rows that the search never saw", columns, checked)
    for entry in search["kept"]:
        names = ", ".join(map(language_name, entry["languages"]))
        share = f"{entry['share']:.0%} of the error of {names}, which lost more than the floor"
        out.print(
            f"{entry['site']} stays in {entry['precision']}: {share}", markup=False, highlight=False
        )
    if not search["kept"]:
        out.print("No site has to stay in bf16 or fp32.", highlight=False)
    elif search["without_bf16"]:
        out.print(f"bf16 was not tried: {search['without_bf16']}.", markup=False, highlight=False)
    told = max(map(_told, search["checked"].values()))
    out.print(
        f"A language is beyond the floor of {search['max_drop']:g} points where its interval lies "
        f"below 0 too; rows like these tell {told:.1f} points from chance in every language.",
        highlight=False,
    )


def _told(found: dict[str, Any]) -> float:
    """The least loss in points that the rows of a language tell from chance.

    Where few answers turned over the interval is that of few, which a loss would widen. Without any
    gained it leaves out zero from six lost answers on: n - 1.96 sqrt(n + 2) is above 0 then.
    """
    low, high = map(float, found["ci95"])
    lost = (Z95**2 + Z95 * math.sqrt(Z95**2 + 8)) / 2
    return min(100.0, max((high - low) / 2, 100 * lost / int(found["rows"])))
