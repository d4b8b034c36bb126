"""``xopt sweep``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import bars, console, error_console, print_json, show_options, table
from xopt.errors import XoptError, require

if TYPE_CHECKING:
    from xopt.tune.sweep.cells import Plan

__all__ = ["sweep"]


@app.command(
    short_help="Tune, build and measure every cell of an experiment.",
    epilog=examples(
        "xopt sweep experiment.toml --dry-run",
        "xopt sweep experiment.toml -o sweeps/e5 --data DIR --ray local",
    ),
)
def sweep(
    experiment: Annotated[
        str, typer.Argument(help="TOML file that names the axes; docs/sweep.md describes it.")
    ],
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="The sweep's folder. Default: sweeps/NAME."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Folder of training and evaluation data, or hub; instead of the file's."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Run on a Ray cluster: its address, or local for one on this machine."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and which are finished; run nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Tune, build and measure every combination of an experiment; go on where it was stopped."""
    for module in ("torch", "transformers", "onnx"):
        require(module, extra="tune", why="xopt sweep")
    from xopt.tune.sweep.cells import plan_sweep
    from xopt.tune.sweep.experiment import read_experiment

    plan = plan_sweep(read_experiment(Path(experiment), data=data))
    folder = Path(out) if out else Path("sweeps") / plan.experiment.name
    asked = {"experiment": experiment, "out": str(folder), "data": plan.experiment.data, "ray": ray}
    show_options("sweep", asked, quiet=as_json)
    if dry_run:
        _show_plan(plan, folder, as_json)
        return
    # Asked for now, not after hours of work.
    require("matplotlib", extra="tune", why="The plot of a sweep")
    document = _run(plan, folder, ray, _command(experiment, plan, folder, ray), as_json)
    if as_json:
        print_json(document)
    else:
        _show(document, folder)
    if document["failures"]:
        raise typer.Exit(1)


def _command(experiment: str, plan: Plan, folder: Path, ray: str | None) -> str:
    """What fills such a folder again; files and folders by name, a cluster as ADDRESS."""
    from xopt.tune.places import name_of

    words = ["xopt", "sweep", Path(experiment).name]
    if plan.experiment.data is not None:
        words += ["--data", name_of(plan.experiment.data)]
    words += ["-o", folder.name]
    if ray is not None:
        words += ["--ray", ray if ray == "local" else "ADDRESS"]
    return shlex.join(words)


def _run(plan: Plan, folder: Path, ray: str | None, command: str, quiet: bool) -> dict[str, Any]:
    """Do what is open, and write the report.

    Raises:
        XoptError: nothing at all could be done.
    """
    from xopt.tune.sweep.report import write_report
    from xopt.tune.sweep.run import held, run_here

    with held(folder), bars(quiet=quiet) as progress:
        if ray is not None:
            from xopt.tune.sweep.cluster import run_on_ray

            outcome = run_on_ray(plan, folder, ray, progress)
        else:
            outcome = run_here(plan, folder, progress)
    if not outcome.results:
        reasons = "\n".join(f"{f.step}: {f.message}" for f in outcome.failures)
        raise XoptError(
            f"No cell of {plan.experiment.name} could be filled.\n{reasons}",
            hint="Mend that and type the same command again; it goes on with what is finished.",
        )
    return write_report(plan, outcome, folder, command)


def _show_plan(plan: Plan, folder: Path, as_json: bool) -> None:
    """The cells, which are finished, and the steps that are left."""
    from xopt.tune.sweep.run import pending_steps
    from xopt.tune.sweep.steps import read_cell

    finished = [read_cell(folder, cell) is not None for cell in plan.cells]
    pending = pending_steps(plan, folder)
    if as_json:
        cells = [c.facts() | {"finished": f} for c, f in zip(plan.cells, finished, strict=True)]
        steps = [{"kind": step.kind, "name": step.name} for step in pending]
        print_json({"cells": cells, "pending": steps, "left_out": list(plan.left_out)})
        return
    head = ["intermediate", "target", "seed", "student", "QAT", "precision", "engine", "finished"]
    rows = [
        [
            cell.intermediate,
            cell.target,
            str(cell.seed),
            str(cell.student_layers or "-"),
            "yes" if cell.qat else "-",
            cell.precision,
            cell.engine,
            "yes" if done else "no",
        ]
        for cell, done in zip(plan.cells, finished, strict=True)
    ]
    table(f"{plan.experiment.name}: {len(rows)} cells in {folder}", head, rows, left=2)
    out = console()
    tunings = sum(step.kind == "tune" for step in pending)
    out.print(
        f"finished: {sum(finished)}; to do: {tunings} tunings, {len(pending) - tunings} "
        "checkpoints to build and measure",
        highlight=False,
    )
    for reason in plan.left_out:
        out.print(f"left out: {reason}", highlight=False, markup=False)


def _show(document: Mapping[str, Any], folder: Path) -> None:
    """The tables, and what is left open."""
    from xopt.tune.sweep.report import detail_rows, table_rows, table_title

    for entry in document["tables"]:
        table(table_title(entry), *table_rows(entry, document))
        table("worst language, throughput, size", *detail_rows(entry, document), left=2)
    out = console()
    for reason in document["left_out"]:
        out.print(f"left out: {reason}", highlight=False, markup=False)
    for failure in document["failures"]:
        error_console().print(f"failed: {failure['step']}: {failure['message']}", markup=False)
    written = f"{folder / 'report.json'}, report.md, pareto.png, pareto.svg"
    out.print(written, highlight=False, markup=False)
