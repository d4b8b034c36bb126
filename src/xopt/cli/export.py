"""``xopt export``."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import bars, console, print_json
from xopt.errors import require

__all__ = ["export"]


@app.command(
    short_help="Write the graph or the checkpoint for other tools.",
    epilog=examples("xopt export bundles/e5 --form onnx-qdq -o exported"),
)
def export(
    source: Annotated[
        str, typer.Argument(help="Bundle that was built here, or a checkpoint as for xopt build.")
    ],
    form: Annotated[
        str,
        typer.Option(
            help="onnx-fp32, onnx-qdq (INT8 with explicit Q/DQ), or hf (a Hugging Face folder)."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write.")],
    calibration: Annotated[
        str | None,
        typer.Option(help="Texts for onnx-qdq of a checkpoint, as for xopt build."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the graph or the checkpoint for other tools, with a README and a runnable example."""
    require("onnx", extra="build", why="xopt export")
    from xopt.export.forms import bundle_at, export_options
    from xopt.export.forms import export as write

    options = export_options(source, form, calibration)
    with bars(quiet=as_json) as progress:
        found = write(options, form, out, progress, bundle=bundle_at(source))
    if as_json:
        print_json({"folder": str(out), "form": form, "files": list(found.files)})
        return
    for name in found.files:
        console().print(f"  {out / name}", highlight=False, markup=False)
    if form == "hf":
        said = f"xopt build {shlex.quote(str(out))}"
    else:
        script = shlex.quote(str(out / "run.py"))
        lacks = find_spec("onnxruntime") is None
        said = f"{'pip install onnxruntime && ' if lacks else ''}python {script} TEXT"
    console().print(f"Next: {said}", highlight=False, markup=False, soft_wrap=True)
