"""``xopt run``: answers from a bundle with the base install alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from xopt.artifacts import Bundle
from xopt.bulk.columns import Columns
from xopt.bulk.reading import GivenInput, Input, open_input
from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption, StreamsOption, ThreadsOption, find_bundle
from xopt.cli.output import error_console
from xopt.cli.run_show import print_answers, show_answers
from xopt.errors import InputError
from xopt.model.core import Model
from xopt.model.prompts import find_prompt
from xopt.model.texts import Row
from xopt.reading import read_stream

__all__ = ["run"]

# Options that only some heads know.
HEADS = {"windows": ("span",), "normalize": ("embed",), "prompt": ("embed", "classify")}


@dataclass(frozen=True)
class Asked:
    """How texts are read and answered; the options of the command by their names there."""

    truncate: bool
    windows: bool
    prompt: str | None
    normalize: bool | None
    batch_tokens: int | None
    threads: int | None
    streams: int | None
    device: str | None


@app.command(
    short_help="Answer texts: labels, tags, spans or embeddings.",
    epilog=examples(
        'xopt run bundles/e5 "Habari za asubuhi" "Good morning"',
        "xopt run bundles/e5 --input texts.csv --column text --output vectors.npy",
    ),
)
def run(
    bundle: Annotated[str, typer.Argument(help="Bundle folder.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; none: lines of stdin.")] = None,
    pair: Annotated[
        str | None,
        typer.Option(
            help="Second text of every pair: a hypothesis, or the context that answers a question."
        ),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut what is longer than the encoder takes.")
    ] = False,
    windows: Annotated[
        bool,
        typer.Option("--windows", help="Read a context that is too long in windows, as xopt eval."),
    ] = False,
    prompt: Annotated[
        str | None,
        typer.Option(help="Name of one of the checkpoint's prompts, or none; else its default."),
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option(help="Embeddings of length 1 or not; by default as the checkpoint says."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--input", help="Texts: a .txt, .csv, .tsv, .jsonl or .parquet file."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of the texts. Default: text, or the only one.")
    ] = None,
    pair_column: Annotated[
        str | None, typer.Option(help="Column of the second texts of pairs.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            help="Write the answers to a .jsonl, .parquet or .npy file. A run that was stopped "
            "goes on when the same command is typed again.",
        ),
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(help="Most slots of a batch, tokens and padding. Default: 4096.")
    ] = None,
    threads: ThreadsOption = None,
    streams: StreamsOption = None,
    device: Annotated[str | None, typer.Option(help="The GPU to use, such as cuda:1.")] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Answer on a Ray cluster: its address, or local for one here."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Workers on the cluster.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Answer texts: labels, tags, spans, or embeddings and how similar they are."""
    opened = find_bundle(bundle)
    asked = Asked(truncate, windows, prompt, normalize, batch_tokens, threads, streams, device)
    _check_head(opened, windows=windows or None, normalize=normalize, prompt=prompt)
    if source is not None and texts:
        raise InputError("Both texts and --input were given.", hint="Give one of them.")
    if source is None and (column or pair_column):
        raise InputError("--column and --pair-column belong to --input FILE.")
    if ray is not None and output is None:
        raise InputError("--ray needs --output FILE.")
    if output is not None:
        from xopt.cli.run_bulk import run_to_file

        given: Input = GivenInput(texts or [], pair)
        if source is not None:
            given = open_input(Path(source), Columns(column, pair_column), pair)
        elif not texts:
            raise InputError(
                "--output needs texts that can be read again when the run goes on.",
                hint="Save standard input to a file and give it with --input FILE.",
            )
        run_to_file(opened, given, Path(output), asked, ray=ray, workers=workers, quiet=as_json)
        return
    known: list[Row] | None = None
    if source is not None:
        rows = open_input(Path(source), Columns(column, pair_column), pair).rows()
    elif texts:
        rows = iter(known := list(GivenInput(texts, pair).rows()))
    else:
        rows = _stdin(pair)
    name = "Standard input" if source is None else Path(source).name
    _answer(opened, rows, known, asked, name=name, as_json=as_json)


def _check_head(bundle: Bundle, **given: object) -> None:
    """Refuse an option that would do nothing with this bundle's head."""
    kind = bundle.head["kind"]
    for name, value in given.items():
        if value is not None and kind not in HEADS[name]:
            raise InputError(
                f"--{name} is for bundles with the head {' or '.join(HEADS[name])}; this one has "
                f"{kind}.",
                hint="Leave it out.",
            )


def _answer(
    bundle: Bundle,
    rows: Iterator[Row],
    known: list[Row] | None,
    asked: Asked,
    *,
    name: str,
    as_json: bool,
) -> None:
    """Print the answers as they come; ``known`` holds the rows if they are few."""
    if known is not None:
        prompt = find_prompt(bundle, asked.prompt)
        known = [Row(prompt + row.first, row.pair) for row in known]
    with Model.open(
        bundle, threads=asked.threads, streams=asked.streams, device=asked.device, known=known
    ) as model:
        model.say = lambda sentence: error_console().print(sentence, highlight=False, markup=False)
        asking = model.asking(
            asked.prompt,
            normalize=asked.normalize,
            truncate=asked.truncate,
            windows=asked.windows,
        )
        answers = model.stream(rows, asking, batch_tokens=asked.batch_tokens)
        first = next(answers, None)
        if first is None:
            raise InputError(f"{name} has no text.", hint='Type: xopt run BUNDLE "some text"')
        show = print_answers if as_json else show_answers
        show(model, asking, chain([first], answers))


def _stdin(pair: str | None) -> Iterator[Row]:
    """The lines of standard input, without blank ones."""
    name = "standard input"
    if sys.stdin is None:
        raise InputError("Standard input is closed.", hint='Type: xopt run BUNDLE "some text"')
    if sys.stdin.isatty():
        error_console().print("Type a text on each line; Ctrl-D answers them.")
    for number, line in enumerate(read_stream(sys.stdin.buffer, name), 1):
        if line.strip():
            yield Row(line, pair, f"{name}, line {number}", number)
