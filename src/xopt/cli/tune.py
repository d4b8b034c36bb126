"""``xopt tune``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import bars, console, print_json, show_options
from xopt.errors import require
from xopt.settings import resolve
from xopt.tune.options import TuneOptions

if TYPE_CHECKING:
    from xopt.tune.phases import TuneResult

__all__ = ["tune"]


@app.command(
    short_help="Fine-tune on English tasks; the result is a checkpoint.",
    epilog=examples(
        "xopt tune --intermediate none --target xnli --data sample -o tuned/xnli",
        "xopt tune FacebookAI/xlm-roberta-base --intermediate mnli --target xnli -o tuned/xnli",
        "xopt tune --intermediate squad,mnli -o tuned/encoder",
        "xopt tune ./encoder --intermediate none --target panx --data DIR --precision bf16",
    ),
)
def tune(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Checkpoint folder, hub id, or pip:multilingual-e5-small. Default: as xopt build."
        ),
    ] = None,
    intermediate: Annotated[
        str | None,
        typer.Option(
            help="English tasks of phase 2, comma-separated, or none: anli, mnli, qqp, squad2, "
            "squad, hellaswag, ccg, cosmosqa, commonsenseqa; small ones: xnli-validation, tydiqa."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Task of phase 3: xnli, pawsx, udpos, panx, xquad, mlqa, tydiqa, or any of the "
            "above. Without it the encoder is kept as phase 2 leaves it (BUCC, Tatoeba)."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder with TASK/train.jsonl or .parquet, or in the layout of google/xtreme. "
            "sample: xopt's own two dozen. Default: the Hugging Face hub."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of heads, order, dropout and held-out dev parts.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate. Default: the task's.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Examples of a step. Default: the task's.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training set. Default: the task's.")
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Steps of each phase; overrides --epochs.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Tokens of an input. Default: the task's.")
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(help="Share of the steps over which the rate rises.")
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            help="Steps between English dev scores, each with a checkpoint. Default: a tenth of "
            "the phase, at most 1000."
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Dev scores without a gain after which a phase stops.")
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(help="Several tasks are mixed: proportional, uniform or temperature."),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="For --sampling temperature.")] = None,
    examples_cap: Annotated[
        int | None, typer.Option(help="A larger task counts as this many examples.")
    ] = None,
    mlm: Annotated[
        str | None,
        typer.Option(
            help="Multilingual texts to guess masked tokens of beside phase 2: as for "
            "xopt build --calibration, or sample."
        ),
    ] = None,
    mlm_share: Annotated[
        float | None, typer.Option(help="Share of phase 2's batches that are such texts.")
    ] = None,
    translated: Annotated[
        str | None,
        typer.Option(help="Folder with machine-translated training data of the phase 2 tasks."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, or bf16 for mixed precision.")
    ] = None,
    gradient_accumulation: Annotated[
        int | None, typer.Option(help="Parts that a batch is run in, to save memory.")
    ] = None,
    freeze_embeddings: Annotated[
        bool | None,
        typer.Option("--freeze-embeddings", help="Leave the embedding tables as they are."),
    ] = None,
    student_layers: Annotated[
        int | None, typer.Option(help="Distil the result into this many layers.")
    ] = None,
    qat: Annotated[
        bool | None, typer.Option("--qat", help="Go on with fake quantizers at xopt's sites.")
    ] = None,
    qat_target: Annotated[
        str | None,
        typer.Option(
            help="For --qat: whose INT8 they round as, as xopt build --target: cpu, cuda, tensorrt "
            "or tensorrt-rtx. Default: cpu."
        ),
    ] = None,
    qat_precision: Annotated[
        str | None,
        typer.Option(help="For --qat: int8, or int8-attention for cuda. Default: int8."),
    ] = None,
    cpu: Annotated[
        str | None,
        typer.Option(
            help="For --qat: numbers of the CPU's INT8, any or vnni, as xopt build --cpu. Default: "
            "vnni where this machine has it."
        ),
    ] = None,
    max_train_examples: Annotated[
        int | None, typer.Option(help="Of each task, drawn by the seed.")
    ] = None,
    max_dev_examples: Annotated[
        int | None, typer.Option(help="Of each task's English dev set, the first ones.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="The result's folder. Default: in xopt's cache."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune on English tasks in the paper's phases; the result is a checkpoint to build."""
    given: dict[str, Any] = {
        "checkpoint": checkpoint, "target": target, "data": data, "seed": seed, "lr": lr,
        "batch": batch, "epochs": epochs, "max_steps": max_steps, "max_tokens": max_tokens,
        "warmup": warmup, "evaluate_every": evaluate_every, "patience": patience,
        "sampling": sampling, "temperature": temperature, "examples_cap": examples_cap,
        "mlm": mlm, "mlm_share": mlm_share, "translated": translated, "precision": precision,
        "gradient_accumulation": gradient_accumulation, "freeze_embeddings": freeze_embeddings,
        "student_layers": student_layers, "qat": qat, "qat_target": qat_target,
        "qat_precision": qat_precision, "cpu": cpu, "max_train_examples": max_train_examples,
        "max_dev_examples": max_dev_examples, "out": out,
        "intermediate": None if intermediate is None else tuple(intermediate.split(",")),
    }  # fmt: skip
    options = resolve(TuneOptions, "tune", given)
    require("accelerate", extra="tune", why="xopt tune")
    show_options("tune", asdict(options), quiet=as_json)
    from xopt.tune.phases import tune_checkpoint

    with bars(quiet=as_json) as progress:
        result = tune_checkpoint(options, progress)
    if as_json:
        print_json(
            {
                "folder": str(result.folder),
                "cached": result.cached,
                "seconds": round(result.seconds, 2),
                "training": result.report,
            }
        )
        return
    _show(result)


def _show(result: TuneResult) -> None:

    out = console()
    report = result.report
    how = "already tuned" if result.cached else f"tuned in {result.seconds:.0f} s"
    out.print(f"[bold green]{escape(str(result.folder))}[/bold green]  {how}", highlight=False)
    trained = report["result"]
    best = dict(trained["scores"])[trained["best_step"]]
    scores = "  ".join(f"{name} {value:.1f}" for name, value in best.items() if name != "score")
    out.print(
        f"  English dev  {scores} (step {trained['best_step']} of {trained['steps']})\n"
        f"  examples     " + "  ".join(f"{d['task']} {d['train']:,}" for d in report["data"]) + "\n"
        f"  fingerprint  {report['fingerprint'][:16]}",
        highlight=False,
    )
    said = f"xopt build {shlex.quote(str(result.folder))} --precision int8"
    out.print(f"Next: {said}", highlight=False, markup=False, soft_wrap=True)
