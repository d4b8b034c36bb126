"""``xopt eval``."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from xopt.cli.app import app, examples
from xopt.cli.common import (
    BundleArgument,
    JsonOption,
    StreamsOption,
    ThreadsOption,
    refuse_what_cannot_run,
)
from xopt.cli.eval_bundles import find_candidate, parse_bundles, with_reference
from xopt.cli.eval_tables import show_gate, show_report, show_suite
from xopt.cli.eval_tasks import check_codes, submission_folder, task_of
from xopt.cli.output import Bars, bars, error_console, print_json, show_options
from xopt.engines.opening import EngineOptions
from xopt.errors import InputError, XoptError
from xopt.evaluate.comparing import compare_bundles
from xopt.evaluate.data import open_source
from xopt.evaluate.options import EvalOptions, check_max_drop
from xopt.evaluate.resume import Partial
from xopt.evaluate.retention import choose_languages
from xopt.evaluate.splits import settle_split
from xopt.evaluate.suite import combine_reports, retention_gate, split_languages
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.conventions import parse_conventions
from xopt.evidence import record_report
from xopt.languages import language_name
from xopt.settings import resolve

__all__ = ["EvalCommand", "evaluate"]


class NoLanguageError(InputError):
    """One of several tasks has none of the languages that were asked for."""


@dataclass(frozen=True)
class EvalCommand(EvalOptions):
    """Keys of ``[eval]`` in ``xopt.toml``; see ``xopt eval --help``."""

    task: str = "tatoeba"
    data: str | None = None
    languages: str | None = None
    reference: str | None = None
    bundle: tuple[str, ...] = ()
    split: str | None = None
    convention: tuple[str, ...] = ()
    direction: str = "en-xx"
    prefix: str | None = None
    layer: int | None = None
    pooling: str | None = None
    max_drop: float | None = None
    threads: int | None = None
    streams: int | None = None
    submission: str | None = None
    resume: bool = True
    record: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        EngineOptions(self.threads, self.streams)
        if self.max_drop is not None:
            check_max_drop(self.max_drop)
        if not self.tasks:
            raise InputError("--task names no task.", hint=f"Possible: {', '.join(TASKS)}, all.")
        for name in self.tasks:
            TASKS.resolve(name)
        parse_bundles(self.bundle)
        parse_conventions(self.convention, self.tasks)

    @property
    def tasks(self) -> list[str]:
        """The tasks that are asked for, each once."""
        names = [name.strip() for name in self.task.split(",") if name.strip()]
        return list(TASKS) if names == ["all"] else list(dict.fromkeys(names))

    @property
    def codes(self) -> list[str] | None:
        """The languages that are asked for; None for all."""
        return [code.strip() for code in self.languages.split(",")] if self.languages else None


@app.command(
    short_help="Measure what a bundle retains of fp32, language by language.",
    name="eval",
    epilog=examples(
        "xopt eval --task tatoeba",
        "xopt eval bundles/e5 --task tatoeba --data DIR --languages sw,th --max-drop 1.0",
    ),
)
def evaluate(
    bundle: BundleArgument = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="xnli, pawsx, udpos, panx, xquad, mlqa, tydiqa, bucc2018, tatoeba; several with "
            "commas, or all."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder in the layout of google/xtreme, or hub, or sample. Default: the hub "
            "where it is at hand, else xopt's own sample."
        ),
    ] = None,
    languages: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated codes; all that the data holds by default. Of several tasks, "
            "each takes those that it has."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="The fp32 bundle to compare with; built from the checkpoint by default."),
    ] = None,
    bundles: Annotated[
        list[str] | None,
        typer.Option(
            "--bundle",
            help="TASK=PATH: the bundle for one of several tasks; repeat it. By default each task "
            "takes the newest one built here that fits.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the data set; what XTREME scores by default.")
    ] = None,
    convention: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE: a convention that moves the score, such as seqeval=1.2.2, "
            "doc_stride=64 or max_tokens=256; repeat it."
        ),
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="Tatoeba: en-xx (as XTREME) or xx-en.")
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            help="Retrieval, pairs: put before every (first) sentence. "
            "Default: the checkpoint's default prompt."
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            help="Retrieval: pool this hidden state (XTREME, of XLM-R large: Tatoeba 14, BUCC 20); "
            "both bundles are rebuilt."
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            help="Retrieval: mean (as XTREME's Tatoeba) or cls (as its BUCC); both are rebuilt."
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Exit with 1 if any language loses more than this many points, or a task was not "
            "scored."
        ),
    ] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="Most slots of a batch.")] = None,
    threads: ThreadsOption = None,
    streams: StreamsOption = None,
    resamples: Annotated[int | None, typer.Option(help="Of the paired bootstrap.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the paired bootstrap.")] = None,
    submission: Annotated[
        str | None, typer.Option(help="Also write XTREME's submission files into this folder.")
    ] = None,
    resume: Annotated[
        bool | None, typer.Option(help="Go on where an interrupted run of the same kind stopped.")
    ] = None,
    record: Annotated[
        bool | None, typer.Option(help="Put the report into the bundle and its card.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what a bundle retains of its fp32 reference, language by language, and its speed."""
    given = {k: v for k, v in locals().items() if k not in ("bundle", "bundles", "as_json")}
    given |= {"bundle": bundles, "convention": convention}
    options = resolve(EvalCommand, "eval", {k: _settled(v) for k, v in given.items()})
    show_options("eval", asdict(options), quiet=as_json)
    place = submission_folder(options.submission, options.tasks)
    partial = Partial(enabled=options.resume)
    several = len(options.tasks) > 1
    entries: list[dict[str, Any]] = []
    folder = ""
    if several and options.codes:
        check_codes(options.codes, options)
    with bars(quiet=as_json) as progress:
        for name in options.tasks:
            try:
                report, folder = _evaluate(name, bundle, options, partial, progress, several, place)
                entries.append(report)
            except XoptError as error:
                if not several:
                    raise
                absent = isinstance(error, NoLanguageError)
                entries.append({"task": name, "skipped": error.message, "absent": absent})
    partial.clear()
    if several and all("skipped" in entry for entry in entries):
        reasons = "\n".join(f"{entry['task']}: {entry['skipped']}" for entry in entries)
        hint = "Build a bundle with: xopt build --task TASK --precision int8"
        raise XoptError(f"None of these tasks could be scored.\n{reasons}", hint=hint)
    gate = retention_gate(entries, options.max_drop)
    document = combine_reports(entries) if several else entries[0]
    if as_json:
        print_json(document | {"gate": gate})
    else:
        if several:
            show_suite(document)
        else:
            show_report(document, folder)
        show_gate(gate)
    if gate is not None and not gate["passed"]:
        raise typer.Exit(1)


def _settled(value: Any) -> Any:
    """A repeated option as a tuple; None where it was not given."""
    if isinstance(value, list):
        return tuple(value) or None
    return value


def _evaluate(
    name: str,
    bundle: str | None,
    options: EvalCommand,
    partial: Partial,
    progress: Bars,
    several: bool,
    submission: Path | None,
) -> tuple[dict[str, Any], str]:
    """The report of one task, and the name of the bundle's folder."""
    task = task_of(name, options)
    candidate = find_candidate(task, parse_bundles(options.bundle).get(name, bundle))
    source = open_source(options.data, probe=task.probe())
    if options.split is None:
        task, said = settle_split(task, source)
        if said:
            error_console().print(said, markup=False, highlight=False)
    asked, left_out = options.codes, list[str]()
    if several and asked and (available := task.on(source).available(source)):
        asked, left_out = split_languages(asked, available)
        if not asked:
            raise NoLanguageError(f"{source.label} has it in none of {', '.join(left_out)}.")
    choose_languages(task.on(source), source, asked)
    cores = EngineOptions(options.threads, options.streams)
    # Refused before a reference is built.
    cores.of(candidate.target, candidate.folder.name)
    refuse_what_cannot_run(candidate, predict=True)
    candidate, fp32 = with_reference(candidate, options, progress)
    report = compare_bundles(
        task,
        source,
        fp32,
        candidate,
        options,
        cores=cores,
        languages=asked,
        report=lambda code, side, share: progress.named(
            f"{name + ' ' if several else ''}{language_name(code):<12} {side}", share
        ),
        partial=partial,
        submission=submission,
        command="xopt " + " ".join(sys.argv[1:]),
    )
    if options.record:
        try:
            record_report(candidate, report)
        except (XoptError, OSError) as error:
            said = error.message if isinstance(error, XoptError) else str(error)
            error_console().print(f"not recorded in the bundle: {said}", markup=False)
    return report | ({"left_out": left_out} if left_out else {}), candidate.folder.name
