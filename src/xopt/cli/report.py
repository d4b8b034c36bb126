"""``xopt report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import console, print_json
from xopt.errors import InputError
from xopt.publishing import check_outside, write_whole
from xopt.report.documents import read_runs
from xopt.report.render import MADE_BY, build_sections, render_html, render_markdown

__all__ = ["report"]

MADE = f"{MADE_BY} xopt ".encode()
FORMS = {".html": render_html, ".md": render_markdown}


@app.command(
    short_help="Show evaluations, benches and sweeps on one page.",
    epilog=examples("xopt report bundles/e5 bench.json -o report.html"),
)
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Bundles, JSON files of xopt eval, bench and sweep, or folders of them."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .html or .md file.")] = Path(
        "report.html"
    ),
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "xopt report",
    as_json: JsonOption = False,
) -> None:
    """Show evaluations, benches and sweeps on one page that needs no network."""
    form = FORMS.get(out.suffix.lower())
    if form is None:
        raise InputError(
            f"{out} ends in {out.suffix or 'nothing'}; a report is .html or .md.",
            hint=f"Type: -o {out.with_suffix('.html')}",
        )
    _check_place(out)
    found = read_runs(runs)
    text = form(found, title)
    write_whole(out, text)
    if as_json:
        print_json(
            {
                "report": str(out),
                "bytes": len(text.encode()),
                "runs": [{"kind": run.kind, "name": run.name} for run in found],
                "sections": [section.id for section in build_sections(found)],
            }
        )
        return
    console().print(
        f"{out}  ({len(found)} run{'s' * (len(found) > 1)}, {len(text.encode()) / 2**10:,.0f} KiB)",
        highlight=False,
    )


def _check_place(out: Path) -> None:
    """Refuse to write over a file that holds something, and no report of ours, or into a bundle."""
    check_outside(out)
    if out.is_file() and out.stat().st_size > 0 and MADE not in out.read_bytes():
        raise InputError(
            f"{out} exists and is no report of xopt.",
            hint="Choose another file with -o, or remove it yourself.",
        )
