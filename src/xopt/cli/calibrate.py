"""``xopt calibrate``."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import bars, console, print_json, table
from xopt.compile.options import BuildOptions
from xopt.errors import require
from xopt.languages import is_tag, language_name
from xopt.settings import as_typed, resolve

if TYPE_CHECKING:
    from xopt.compile.calibration import Calibration

__all__ = ["calibrate"]


@app.command(
    short_help="Show a calibration corpus, and write its ranges.",
    epilog=examples("xopt calibrate texts/ --checkpoint ./my-xnli-model -o ranges/xnli"),
)
def calibrate(
    corpus: Annotated[
        str | None,
        typer.Argument(
            help="Texts as for xopt build --calibration. Default: xopt's own, 40 languages."
        ),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="As for xopt build.")] = None,
    precision: Annotated[str | None, typer.Option(help="As for xopt build.")] = None,
    target: Annotated[str | None, typer.Option(help="As for xopt build.")] = None,
    cpu: Annotated[str | None, typer.Option(help="As for xopt build: any or vnni.")] = None,
    calibration_tokens: Annotated[
        int | None, typer.Option(help="Token budget of the sample.")
    ] = None,
    ranges: Annotated[str | None, typer.Option(help="minmax, percentile, entropy or mse.")] = None,
    percentile: Annotated[float | None, typer.Option(help="For --ranges percentile.")] = None,
    smooth: Annotated[float | None, typer.Option(help="SmoothQuant's alpha.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sample.")] = None,
    normalize: Annotated[str | None, typer.Option(help="As for xopt build.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="As for xopt build: of pairs of texts, it is calibrated on pairs."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for the ranges, for xopt build --calibration FOLDER."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a calibration corpus holds, and write the ranges that it gives a checkpoint."""
    require("onnx", extra="build", why="xopt calibrate")
    from xopt.compile.calibration import calibrate_checkpoint

    given = {
        "checkpoint": checkpoint, "calibration": corpus, "precision": precision, "target": target,
        "cpu": cpu, "calibration_tokens": calibration_tokens, "ranges": ranges,
        "percentile": percentile, "smooth": smooth, "seed": seed, "normalize": normalize,
        "task": task,
    }  # fmt: skip
    options = resolve(BuildOptions, "build", given)
    with bars(quiet=as_json) as progress:
        found = calibrate_checkpoint(options, out, progress)
    if as_json:
        written = str(found.ranges.folder) if found.ranges else None
        print_json(
            {
                "corpus": found.corpus,
                "sample": found.sample,
                "ranges": written,
                "fingerprint": found.ranges.fingerprint if found.ranges else None,
                "seconds": round(found.seconds, 2),
            }
        )
        return
    _show(found, options)


def _show(found: Calibration, options: BuildOptions) -> None:
    corpus, sample, out = found.corpus, found.sample, console()
    drawn = sample["by_language"]
    table(
        f"{corpus['corpus']}: {corpus['texts']:,} texts, {corpus['distinct']:,} of them distinct",
        ["language", "script", "texts", "tokens", "unknown tokens", "texts drawn"],
        [
            [
                f"{language_name(code)} ({code})",
                row["script"],
                f"{row['texts']:,}",
                f"{row['tokens']:,}",
                f"{row['unknown']:.2%}",
                str(drawn.get(code, 0)),
            ]
            for code, row in corpus["languages"].items()
        ],
        left=2,
    )
    scripts = ", ".join(f"{name} {share:.1%}" for name, share in corpus["scripts"].items())
    classes = ", ".join(f"{count:,} {name}" for name, count in corpus["lengths"]["classes"].items())
    percentiles = " / ".join(str(n) for n in corpus["lengths"]["percentiles"].values())
    lines = [
        f"scripts: {scripts or 'no letters'}",
        f"lengths in tokens: {percentiles} (0th, 5th, 50th, 95th and 100th percentile); {classes}",
        f"unknown tokens: {corpus['unknown']:.2%} of {corpus['tokens']:,}",
        f"drawn: {sample['texts']} texts, {sample['tokens']:,} tokens, seed {sample['seed']}",
    ]
    if corpus["cut"]:
        lines.append(f"cut: {corpus['cut']:,} texts are longer than the encoder takes")
    if corpus["unnamed"]:
        lines.append(
            f"no language is stated of {corpus['unnamed']:,} texts (und): name their file by its "
            "code, such as sw.txt, or add a column language"
        )
    named = [code for code in corpus["languages"] if not is_tag(code)]
    if named:
        lines.append(
            f"no codes of languages, each counted as one of its own: {', '.join(named)}; state "
            "codes, such as sw"
        )
    if corpus["absent"]:
        lines.append(f"of XTREME's 40 languages without a text: {' '.join(corpus['absent'])}")
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    if found.ranges is None:
        out.print("Only looked at; ranges are written with -o FOLDER.", highlight=False)
        return
    out.print(
        f"[bold green]{escape(str(found.ranges.folder))}[/bold green]  ranges", highlight=False
    )
    said = _next(options, found.ranges.folder)
    out.print(f"Next: {said}", highlight=False, markup=False, soft_wrap=True)


def _next(options: BuildOptions, ranges: Path) -> str:
    """The build that takes these ranges: of another target or precision they are refused."""
    from xopt.compile.ranging import CHOSEN

    asked = replace(options, calibration=str(ranges))
    return shlex.join(["xopt", "build", *as_typed(asked, ("checkpoint", "calibration", *CHOSEN))])
