"""The sections on speed and on where everything came from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from xopt.report.documents import Run
from xopt.report.figures import evals, titles
from xopt.report.parts import Cell, Part, Row, Section, cell, number, plain_table
from xopt.report.plots import draw_lengths, draw_shares

__all__ = ["command_section", "profile_section", "provenance_section", "speed_section"]


def speed_section(runs: Sequence[Run]) -> Section:
    """Throughput and latency of evaluations and benches, and the lengths that they ran on."""
    parts: list[Part] = []
    scored = evals(runs)
    rows = []
    for run, title in zip(scored, titles(scored), strict=True):
        for side, name in (("reference_throughput", "fp32"), ("throughput", "bundle")):
            found = run.document[side]
            latency = found.get("latency_ms", {})
            shown = [number(latency[p]) if p in latency else cell("–") for p in ("p50", "p99")]
            rows.append(
                Row(
                    [
                        cell(f"{title}, {name}"),
                        number(found["sentences_per_s"], ",.0f"),
                        number(found["tokens_per_s"], ",.0f"),
                        *shown,
                    ]
                )
            )
    if rows:
        columns = ["evaluation", "sentences/s", "tokens/s", "p50 ms alone", "p99 ms alone"]
        parts.append(plain_table("Engine alone, on the evaluated texts", columns, rows))
    for run in (r for r in runs if r.kind == "bench"):
        parts.append(_bench_table(run))
    for run, title in zip(scored, titles(scored), strict=True):
        found = run.document["throughput"]
        if "length_percentiles" in found:
            saved = found.get("padding_share")
            caption = "" if saved is None else (
                f"A batch of 32 texts in their given order would be {saved:.0%} padding; the "
                "packed batch has none."
            )  # fmt: skip
            parts.append(
                Part(svg=draw_lengths(found["length_percentiles"], title), caption=caption)
            )
    notes = [note for run in runs if run.kind == "bench" for note in _notes(run)]
    return Section("speed", "Speed", list(dict.fromkeys(notes)), parts)


def _notes(run: Run) -> Sequence[str]:
    """Where INT8 is not faster."""
    found: Sequence[str] = run.document.get("speed_notes", ())
    return found


def _bench_table(run: Run) -> Part:
    rows = []
    for case, timed in run.document["cases"].items():
        first = next(iter(timed.values()))["median_ms"]
        for title, found in timed.items():
            rows.append(
                Row(
                    [
                        cell(f"{case}, {title}"),
                        number(found["median_ms"]),
                        number(min(found["samples_ms"])),
                        number(found["tokens_per_s"], ",.0f"),
                        number(found["median_ms"] / first),
                    ]
                )
            )
    columns = ["case", "median ms", "min ms", "tokens/s", "time beside the first"]
    return plain_table(f"Bench {run.name}: {host_line(run.document)}", columns, rows)


def profile_section(runs: Sequence[Run]) -> Section:
    """Where the engine's time goes, of benches with a profile: a bar of kinds, a row a layer."""
    parts: list[Part] = []
    for run in (r for r in runs if r.kind == "bench"):
        for case, by_bundle in (run.document.get("profile") or {}).items():
            for title, found in by_bundle.items():
                name = f"{run.name}, {case}, {title}"
                wall = found["wall_ms"]
                caption = f"{wall:.2f} ms, the counters of the engine running."
                parts.append(Part(svg=draw_shares(found["shares"], name), caption=caption))
                parts.append(_layer_table(name, found))
    return Section("profile", "Where the time goes", [], parts)


def _layer_table(name: str, found: Mapping[str, Any]) -> Part:
    kinds = list(found["shares"])
    rows = [
        Row([cell(place if not place.isdigit() else f"layer {place}"), *_shares(kinds, shares)])
        for place, shares in found["layers"].items()
    ]
    rows.append(Row([cell("all"), *_shares(kinds, found["shares"])], strong=True))
    return plain_table(f"% of the time: {name}", ["place", *kinds, "sum"], rows)


def _shares(kinds: Sequence[str], shares: Mapping[str, float]) -> list[Cell]:
    values = [shares.get(kind, 0.0) for kind in kinds]
    return [number(100 * value, ".1f") for value in (*values, sum(values))]


def provenance_section(runs: Sequence[Run]) -> Section:
    """Checkpoint, calibration, recipe, parity and tools of every bundle; hardware of every run."""
    parts: list[Part] = []
    for run in runs:
        if run.kind == "bundle":
            parts += [Part(heading=f"Bundle {run.name}"), Part(facts=_bundle_facts(run.document))]
    for run in runs:
        if run.kind != "bundle" and "host" in run.document:
            parts += [
                Part(heading=f"{run.kind.capitalize()} {_what(run)}"),
                Part(facts=_host_facts(run.document)),
            ]
    return Section("provenance", "Where it comes from", [], parts)


def command_section(runs: Sequence[Run]) -> Section:
    """For every number, the command that makes it."""
    parts: list[Part] = []
    for run in runs:
        command = run.document.get("command")
        if run.kind == "bundle":
            command = f"xopt inspect {shlex.quote(run.place)} --json"
        if command:
            parts += [Part(heading=f"{run.kind.capitalize()} {_what(run)}"), Part(command=command)]
    return Section("commands", "Commands that make these numbers", [], parts)


def host_line(document: Mapping[str, Any]) -> str:
    """Processor, cores and instruction sets in one line."""
    host = document["host"]
    flags = ", ".join(host.get("flags", [])) or "no vector instruction set that decides INT8"
    return f"{host['cpu']}, {host['cores']} cores ({flags})"


def _what(run: Run) -> str:
    return f"{run.document['task']}, {run.name}" if run.kind == "eval" else run.name


def _host_facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    host = document["host"]
    tools = ", ".join(f"{name} {version}" for name, version in host.get("tools", {}).items())
    return [
        ("processor", host_line(document)),
        ("system", f"{host.get('system', '?')}, Python {host.get('python', '?')}"),
        ("versions", tools),
    ]


def _bundle_facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("checkpoint", str(manifest.get("checkpoint", "?"))),
        ("target, precision", f"{manifest['target']}, {manifest['precision']}"),
        ("head", str(manifest["head"].get("kind", "?"))),
    ]
    provenance = manifest.get("provenance", {})
    calibration, recipe = provenance.get("calibration"), provenance.get("calibration_recipe")
    if calibration:
        languages = calibration.get("by_language", {})
        facts.append(
            (
                "calibration",
                f"{calibration.get('texts', '?')} texts, {calibration.get('tokens', 0):,} tokens, "
                f"{len(languages)} languages from {calibration.get('corpus', '?')}",
            )
        )
    if recipe:
        facts.append(("recipe", ", ".join(f"{k} {v}" for k, v in recipe.items())))
    parity = manifest.get("parity", {})
    if "max_abs_difference" in parity:
        facts.append(("parity of the fp32 graph", f"max |Δ| {parity['max_abs_difference']:.1e}"))
    tools = manifest.get("tools", {})
    facts.append(("made with", ", ".join(f"{name} {version}" for name, version in tools.items())))
    facts.append(("fingerprint", str(manifest["fingerprint"])))
    return facts
