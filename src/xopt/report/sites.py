"""The section on what INT8 does at each site, of bundles that ``xopt build --max-drop`` built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xopt.languages import names_of
from xopt.report.documents import Run
from xopt.report.parts import Cell, Part, Row, Section, cell, number, plain_table
from xopt.report.plots import draw_sites

__all__ = ["site_section"]

# Bars of a plot; the table has every site.
DRAWN = 20


def site_section(runs: Sequence[Run]) -> Section:
    """For each search: the sites that err most as bars, and all of them in a table."""
    parts: list[Part] = []
    for run in (r for r in runs if r.kind == "search"):
        document = run.document
        means = {
            site: sum(found["errors"].values()) / len(found["errors"])
            for site, found in document["sites"].items()
        }
        most = dict(sorted(means.items(), key=lambda item: -item[1])[:DRAWN])
        parts += [
            Part(svg=draw_sites(most, run.name, document["metric"]), caption=_kept(document)),
            _table(run.name, document, means),
        ]
    lines = [
        "The error of the answers where one site alone is INT8 and all else is fp32, the mean over "
        "languages. The cost is what fp32 takes at that site: its share of the multiply-adds of "
        "all linear layers, for the word embeddings their share of the weights."
    ]
    return Section("sites", "What INT8 does at each site", lines if parts else [], parts)


def _kept(document: Mapping[str, Any]) -> str:
    held = f"Held to {document['max_drop']:g} points of {document['task']} in every language: "
    kept = _precisions(document)
    said = [
        f"{', '.join(site for site in kept if kept[site] == how)} in {how}"
        for how in dict.fromkeys(kept.values())
    ]
    return held + ("; ".join(said) or "every site can be INT8") + "."


def _precisions(document: Mapping[str, Any]) -> dict[str, str]:
    """Of the sites that are not INT8; searches before bf16 do not say fp32."""
    return {entry["site"]: entry.get("precision", "fp32") for entry in document["kept"]}


def _table(name: str, document: Mapping[str, Any], means: Mapping[str, float]) -> Part:
    kept = _precisions(document)
    whole = sum(means.values()) or 1.0
    rows = []
    for site in sorted(means, key=lambda one: -means[one]):
        found = document["sites"][site]
        worst = max(found["errors"], key=lambda code: found["errors"][code])
        most = found["errors"][worst]
        rows.append(
            Row(
                [
                    cell(site),
                    cell(kept.get(site, "INT8")),
                    number(means[site], ".2e"),
                    number(100 * means[site] / whole, ".1f"),
                    Cell(f"{names_of(found['errors'])[worst]} {most:.2e}", most),
                    number(100 * found["cost"], ".1f"),
                ]
            )
        )
    columns = ["site", "is", document["metric"], "share, %", "worst language", "cost in fp32, %"]
    return plain_table(f"{name}: INT8 at one site alone", columns, rows, sortable=True)
