"""``xopt eval``."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from xopt.artifacts import Bundle, cache_folder, fingerprint
from xopt.card import retention_rows
from xopt.cli.app import app
from xopt.cli.common import BundleArgument, JsonOption, find_bundle
from xopt.cli.output import Bars, bars, console, print_json, show_options, table
from xopt.errors import InputError, require
from xopt.evaluate.data import open_source
from xopt.evaluate.retention import check_head, compare_bundles
from xopt.evaluate.session import Session
from xopt.evaluate.tasks import TASKS
from xopt.evidence import known_builds, record_report
from xopt.languages import language_name
from xopt.settings import resolve

__all__ = ["EvalOptions", "evaluate"]


@dataclass(frozen=True)
class EvalOptions:
    """Keys of ``[eval]`` in ``xopt.toml``; see ``xopt eval --help``."""

    task: str = "tatoeba"
    data: str | None = None
    languages: str | None = None
    reference: str | None = None
    direction: str = "en-xx"
    prefix: str = ""
    layer: int | None = None
    pooling: str | None = None
    max_drop: float | None = None
    batch_tokens: int = 4096
    resamples: int = 2000
    seed: int = 0
    record: bool = True

    def __post_init__(self) -> None:
        if self.batch_tokens < 1 or self.resamples < 1:
            raise InputError("--batch-tokens and --resamples must be at least 1.")


@app.command(
    name="eval",
    epilog="Examples:  xopt eval --task tatoeba    ·    "
    "xopt eval bundles/e5 --task tatoeba --data DIR --languages sw,th --max-drop 1.0",
)
def evaluate(
    bundle: BundleArgument = None,
    task: Annotated[str | None, typer.Option(help="tatoeba.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder in the layout of google/xtreme, or hub, or sample. Default: the hub "
            "where it is at hand, else xopt's own sample."
        ),
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Comma-separated codes; all that the data holds by default.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Bundle to compare with; built in fp32 from the checkpoint by default."),
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="Tatoeba: en-xx (as XTREME) or xx-en.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="Tatoeba: put before every sentence.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="Tatoeba: pool this hidden state; both bundles are rebuilt.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help="Tatoeba: mean or cls; both bundles are rebuilt.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Exit with 1 if any language loses more than this many points."),
    ] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="Most slots of a batch.")] = None,
    resamples: Annotated[int | None, typer.Option(help="Of the paired bootstrap.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the paired bootstrap.")] = None,
    record: Annotated[
        bool | None, typer.Option(help="Put the report into the bundle and its card.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what a bundle retains of its fp32 reference, language by language, and its speed."""
    given = {key: value for key, value in locals().items() if key not in ("bundle", "as_json")}
    options = resolve(EvalOptions, "eval", given)
    show_options("eval", asdict(options), quiet=as_json)
    chosen = _task(options)
    candidate = find_bundle(bundle, head=chosen.head)
    check_head(chosen, candidate.head, candidate.folder.name)
    source = open_source(options.data, probe=chosen.probe())
    with bars(quiet=as_json) as progress:
        candidate, fp32 = _bundles(candidate, options, progress)
        with (
            Session(fp32, batch_tokens=options.batch_tokens) as reference_session,
            Session(candidate, batch_tokens=options.batch_tokens) as candidate_session,
        ):
            report = compare_bundles(
                chosen,
                source,
                reference_session,
                candidate_session,
                languages=options.languages.split(",") if options.languages else None,
                seed=options.seed,
                resamples=options.resamples,
                report=lambda code, side, share: progress.named(
                    f"{language_name(code):<12} {side}", share
                ),
                command="xopt " + " ".join(sys.argv[1:]),
            )
    if options.record:
        record_report(candidate, report)
    failed = [
        code
        for code, found in report["languages"].items()
        if options.max_drop is not None and -found["difference"] > options.max_drop
    ]
    if as_json:
        print_json(report | {"gate": _gate(options, failed)})
    else:
        _show(report, candidate, options, failed)
    if failed:
        raise typer.Exit(1)


def _task(options: EvalOptions) -> Any:
    kind = TASKS.resolve(options.task)
    if options.task == "tatoeba":
        return kind(direction=options.direction, prefix=options.prefix)
    return kind()


def _gate(options: EvalOptions, failed: list[str]) -> dict[str, Any] | None:
    if options.max_drop is None:
        return None
    return {"max_drop": options.max_drop, "passed": not failed, "failed": failed}


def _bundles(candidate: Bundle, options: EvalOptions, progress: Bars) -> tuple[Bundle, Bundle]:
    """The candidate (at another layer if asked) and its fp32 reference."""
    wanted: dict[str, Any] = {}
    for name in ("layer", "pooling"):
        value = getattr(options, name)
        if value is not None and candidate.head.get(name) != value:
            wanted[name] = value
    if options.reference is not None and not wanted:
        return candidate, Bundle.open(Path(options.reference))
    made = next(
        (e["options"] for e in known_builds() if e["fingerprint"] == candidate.fingerprint), None
    )
    if made is None:
        raise InputError(
            f"{candidate.folder} was not built on this machine, so its fp32 reference is not known.",
            hint="Give one with --reference BUNDLE "
            "(made by: xopt build CHECKPOINT --precision fp32).",
        )
    require("onnx", extra="build", why="Building the fp32 reference")
    from xopt.compile.build import BuildOptions, build_bundle

    if wanted:
        place = _cached_place(made | wanted)
        candidate = build_bundle(BuildOptions(**made | wanted | {"out": place}), progress).bundle
    exact = made | wanted | {"precision": "fp32", "target": "cpu"}
    result = build_bundle(BuildOptions(**exact | {"out": _cached_place(exact)}), progress)
    return candidate, result.bundle


def _cached_place(options: dict[str, Any]) -> str:
    key = fingerprint({k: v for k, v in options.items() if k != "out"})
    return str(cache_folder() / "for-eval" / key[:20])


def _show(
    report: dict[str, Any], candidate: Bundle, options: EvalOptions, failed: list[str]
) -> None:
    out = console()
    table(
        f"{report['task']}: {report['metric']} retained by {candidate.folder.name} "
        f"on {report['data']['label']}",
        ["language", "n", "fp32", report["precision"], "difference", "95 % interval", "agreement"],
        retention_rows(report),
    )
    worst = report["worst"]
    out.print(
        f"worst: {language_name(worst['language'])} {worst['difference']:+.2f} points",
        highlight=False,
    )
    ours, theirs = report["throughput"], report["reference_throughput"]
    latency = ours["latency_ms"]
    table(
        "throughput on these texts, engine alone",
        ["", "sentences/s", "tokens/s", "tokenizer sentences/s", "p50 ms", "p95 ms", "p99 ms"],
        [
            ["fp32", *_speed(theirs), "", "", ""],
            [report["precision"], *_speed(ours), *(f"{latency[p]:.2f}" for p in latency)],
            ["ratio", f"{ours['tokens_per_s'] / theirs['tokens_per_s']:.2f}×", "", "", "", "", ""],
        ],
    )
    if report["data"]["kind"] == "sample":
        out.print("[dim]sample data: not comparable with published XTREME scores[/dim]")
    if options.max_drop is not None:
        verdict = (
            f"[red]gate failed[/red]: {', '.join(failed)} lost more than {options.max_drop} points"
            if failed
            else f"[green]gate passed[/green]: no language lost more than {options.max_drop} points"
        )
        out.print(verdict, highlight=False)


def _speed(found: dict[str, Any]) -> list[str]:
    names = ("sentences_per_s", "tokens_per_s", "tokenization_sentences_per_s")
    return [f"{found[name]:,.0f}" for name in names]
