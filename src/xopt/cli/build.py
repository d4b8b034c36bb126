"""``xopt build``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xopt.cli.app import app, examples
from xopt.cli.build_show import document, show
from xopt.cli.build_within import build_within
from xopt.cli.common import JsonOption
from xopt.cli.options import takes
from xopt.cli.output import bars, print_json, show_options
from xopt.compile.options import BuildOptions
from xopt.errors import require
from xopt.settings import resolve

__all__ = ["build"]


@app.command(
    short_help="Compile a checkpoint into a bundle: one folder to deploy.",
    epilog=examples(
        "xopt build --precision int8",
        "xopt build --task xnli",
        "xopt build ./my-xnli-model --task xnli --max-drop 0.5 --data DIR",
        "xopt build ./my-xnli-model --calibration texts/ -o bundles/xnli",
    ),
)
@takes(BuildOptions)
def build(given: Mapping[str, Any], as_json: JsonOption = False) -> None:
    """Compile a checkpoint into a bundle: engine, tokenizer, provenance and card in one folder."""
    require("onnx", extra="build", why="xopt build")
    from xopt.compile.build import build_bundle

    options = resolve(BuildOptions, "build", given)
    foreign = options.foreign(options.engine)
    shown = {name: value for name, value in asdict(options).items() if name not in foreign}
    show_options("build", shown, quiet=as_json)
    if options.max_drop is not None:
        build_within(options, quiet=as_json)
        return
    with bars(quiet=as_json) as progress:
        result = build_bundle(options, progress)
    if as_json:
        print_json(document(result))
        return
    show(result, options.task)
