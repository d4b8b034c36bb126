"""``xopt deploy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xopt.artifacts import Bundle
from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import console, print_json
from xopt.errors import InputError, did_you_mean

__all__ = ["deploy"]

# What serves -> the options that are its own.
SERVERS: dict[str, tuple[str, ...]] = {
    "triton": ("texts", "delay_us", "version"),
    "compose": ("cpus",),
    "kubernetes": ("cpus", "replicas"),
    "ray-serve": ("cpus", "replicas"),
}


@app.command(
    short_help="Write a bundle for Triton, Compose, Kubernetes or Ray Serve.",
    epilog=examples(
        "xopt deploy triton bundles/xnli -o serving",
        "xopt deploy triton bundles/better --name xnli --version 2 -o serving",
        "xopt deploy kubernetes bundles/xnli --cpus 8 --replicas 6 -o serving",
    ),
)
def deploy(
    server: Annotated[
        str, typer.Argument(help="What runs it: triton, compose, kubernetes or ray-serve.")
    ],
    bundle: Annotated[str, typer.Argument(help="Bundle folder.")],
    out: Annotated[str, typer.Option("-o", "--out", help="The folder to write.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model; the bundle's folder by default.")
    ] = None,
    texts: Annotated[
        int | None, typer.Option(help="triton: most texts that one batch gathers (64).")
    ] = None,
    delay_us: Annotated[
        int | None,
        typer.Option(help="triton: how long a request waits for others, in microseconds (1000)."),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(help="triton: version of the model; added to those in the folder (1)."),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(help="Not triton: cores of a container or replica (4).")
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            help="kubernetes: most containers that are started (4); ray-serve: least replicas (2)."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what xopt wrote there before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle as what a server reads: for Triton, Compose, Kubernetes or Ray Serve."""
    if server not in SERVERS:
        raise InputError(f"Unknown server {server!r}.", hint=did_you_mean(server, SERVERS))
    given = {"texts": texts, "delay_us": delay_us, "version": version}
    given |= {"cpus": cpus, "replicas": replicas}
    asked: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    foreign = [key for key in asked if key not in SERVERS[server]]
    if foreign:
        raise InputError(
            f"--{foreign[0].replace('_', '-')} is no option of {server}.", hint="Leave it out."
        )
    opened = Bundle.open(Path(bundle))
    if server == "triton":
        from xopt.deploy.triton import TritonOptions, write_repository

        files = write_repository(opened, Path(out), TritonOptions(name, **asked), force=force)
    elif server == "ray-serve":
        from xopt.deploy.ray_files import RayOptions, write_ray_serve

        files = write_ray_serve(opened, Path(out), RayOptions(name, **asked), force=force)
    else:
        from xopt.deploy.containers import ContainerOptions, write_containers

        options = ContainerOptions(name, **asked)
        form: Any = server
        files = write_containers(opened, form, Path(out), options, force=force)
    if as_json:
        print_json({"folder": out, "files": [path.as_posix() for path in files]})
        return
    for path in files:
        console().print(f"  {path}", highlight=False, markup=False)
    console().print(f"Next: read {Path(out) / 'README.md'}", highlight=False, markup=False)
