"""``xopt inspect``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markdown import Markdown

from xopt.artifacts import Bundle
from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import console, print_json, table
from xopt.engines.base import open_engine
from xopt.errors import XoptError
from xopt.evidence import read_reports
from xopt.host import int8_instructions

__all__ = ["inspect"]


@app.command(
    short_help="Show a bundle: card, files, checksums, compiled kernels.",
    epilog=examples("xopt inspect bundles/multilingual-e5-small-int8-cpu"),
)
def inspect(
    path: Annotated[str, typer.Argument(help="Bundle folder.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle is: card, files, checksums, and the kernels its engine was compiled to."""
    bundle = Bundle.open(Path(path))
    bundle.verify()
    reports = read_reports(bundle)
    document: dict[str, Any] = {
        "bundle": str(bundle.folder),
        "size_mib": round(bundle.size_mib, 2),
        **{k: v for k, v in bundle.manifest.items() if k not in ("kind", "schema")},
        "verified": True,
        "session": _session(bundle),
        "evidence": [report["task"] for report in reports],
        "measured_elsewhere": _elsewhere(reports),
    }
    if as_json:
        print_json(document)
        return
    _show_card((bundle.folder / "card.md").read_text(encoding="utf-8"))
    table(
        "files (every sha256 verified)",
        ["file", "MiB", "sha256"],
        [
            [name, f"{entry['bytes'] / 2**20:.2f}", entry["sha256"][:16]]
            for name, entry in bundle.manifest["files"].items()
        ],
    )
    for task, there in document["measured_elsewhere"].items():
        console().print(
            f"{task} was measured with INT8 by {there}; this machine has {int8_instructions()}.",
            highlight=False,
        )
    if "layers" in document:
        rows = [[name, str(count)] for name, count in document["layers"].items()]
        table("read back from the built engine", ["", "count"], rows)
    kernels = document["session"].get("kernels")
    if kernels:
        table("compiled kernels", ["kernel", "count"], [[k, str(n)] for k, n in kernels.items()])
    elif "error" in document["session"]:
        console().print(f"engine: {document['session']['error']}", highlight=False)


def _show_card(card: str) -> None:
    """The card; its tables as all others: Markdown's cut numbers where there is little room."""
    for is_table, group in groupby(card.splitlines(), lambda line: line.startswith("|")):
        lines = list(group)
        if not is_table:
            console().print(Markdown("\n".join(lines)))
            continue
        head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
        table("", head, rows)


def _elsewhere(reports: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Task -> the instruction set that its INT8 answers are of, where this machine has another."""
    measured = {report["task"]: report["host"].get("int8") for report in reports}
    here = int8_instructions()
    return {task: there for task, there in measured.items() if there not in (None, here)}


def _session(bundle: Bundle) -> dict[str, Any]:
    try:
        with open_engine(bundle) as engine:
            return engine.describe()
    except XoptError as error:
        return {"error": str(error)}
