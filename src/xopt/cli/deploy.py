"""``xopt deploy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xopt.artifacts import Bundle
from xopt.cli.app import app
from xopt.cli.common import JsonOption
from xopt.cli.output import console, print_json
from xopt.errors import InputError, did_you_mean

__all__ = ["deploy"]

SERVERS = ("triton",)


@app.command(epilog="Example:  xopt deploy triton bundles/xnli -o serving")
def deploy(
    server: Annotated[str, typer.Argument(help="What shall serve it: triton.")],
    bundle: Annotated[str, typer.Argument(help="Bundle folder.")],
    out: Annotated[str, typer.Option("-o", "--out", help="The folder to write.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model; the bundle's folder by default.")
    ] = None,
    texts: Annotated[int, typer.Option(help="Most texts that one batch gathers.")] = 64,
    delay_us: Annotated[
        int, typer.Option(help="How long a request waits for others, in microseconds.")
    ] = 1000,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what xopt wrote there before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle as what a server reads: model repository, Dockerfile and compose file."""
    if server not in SERVERS:
        raise InputError(f"Unknown server {server!r}.", hint=did_you_mean(server, SERVERS))
    from xopt.deploy.triton import TritonOptions, write_repository

    options = TritonOptions(name, texts, delay_us)
    files = write_repository(Bundle.open(Path(bundle)), Path(out), options, force=force)
    if as_json:
        print_json({"folder": out, "files": [path.as_posix() for path in files]})
        return
    for path in files:
        console().print(f"  {path}", highlight=False)
    console().print(f"Next: read {Path(out) / 'README.md'}", highlight=False)
