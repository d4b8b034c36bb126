"""``xopt serve``."""

from __future__ import annotations

import logging
import os
import shlex
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from xopt.cli.app import app, examples
from xopt.cli.common import StreamsOption, ThreadsOption
from xopt.cli.output import error_console, show_options
from xopt.errors import InputError, require
from xopt.serve.options import ServeOptions
from xopt.settings import resolve

__all__ = ["serve"]


@app.command(
    short_help="Serve bundles over HTTP, with a page to try them.",
    epilog=examples("xopt serve bundles/e5 reranker=bundles/mini --port 8000"),
)
def serve(
    bundles: Annotated[
        list[str], typer.Argument(help="Bundle folders, or NAME=FOLDER; the first is the default.")
    ],
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; this machine alone by default.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at; 0 for a free one.")] = None,
    threads: ThreadsOption = None,
    streams: StreamsOption = None,
    batch_tokens: Annotated[int | None, typer.Option(help="Most tokens of a batch.")] = None,
    queue_tokens: Annotated[
        int | None, typer.Option(help="Tokens that may wait; beyond that: 429.")
    ] = None,
    max_texts: Annotated[int | None, typer.Option(help="Texts of one request.")] = None,
    max_text_kib: Annotated[int | None, typer.Option(help="KiB of one text.")] = None,
    max_body_kib: Annotated[int | None, typer.Option(help="KiB of one request.")] = None,
    timeout_s: Annotated[float | None, typer.Option(help="Longest wait of a request.")] = None,
    drain_s: Annotated[
        float | None, typer.Option(help="How long a stopping server finishes what runs.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(help="Asked for as Authorization: Bearer KEY.", envvar="XOPT_API_KEY"),
    ] = None,
    truncate: Annotated[
        bool | None, typer.Option(help="Cut texts that are too long, unless a request says.")
    ] = None,
    dimensions: Annotated[
        str | None,
        typer.Option(help="Sizes that embeddings may be cut to, as 64,128, if trained for it."),
    ] = None,
) -> None:
    """Serve bundles over HTTP: OpenAI's, TEI's and KServe's interfaces, a page to try them."""
    given: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("bundles", "app")}
    given["dimensions"] = _sizes(dimensions)
    options = resolve(ServeOptions, "serve", given)
    # The command line takes an empty variable for none: the server would be open to all.
    if options.api_key is None and "XOPT_API_KEY" in os.environ:
        raise InputError(
            "XOPT_API_KEY is empty.", hint="Give it a key, or unset it to ask for none."
        )
    places = read_places(bundles)
    uvicorn = require("uvicorn", extra="serve", why="A server")
    for name in ("starlette", "httptools", "prometheus_client", "orjson"):
        require(name, extra="serve", why="A server")
    from xopt.serve.app import make_app
    from xopt.serve.http import Protocol
    from xopt.serve.service import Service

    shown = asdict(options) | {"api_key": "set" if options.api_key else None}
    show_options("serve", shown, quiet=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Before the bundles are opened, which takes longer.
    bound = bind(options.host, options.port)
    service = Service(places, options)
    config = uvicorn.Config(
        make_app(service),
        host=options.host,
        port=options.port,
        http=Protocol,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=max(1, round(options.drain_s)),
        lifespan="on",
    )
    server = uvicorn.Server(config)
    # Who reads the line below may connect at once, and is answered when the server runs.
    bound.listen(config.backlog)
    port = bound.getsockname()[1]
    error_console().print(
        f"serving {', '.join(places)} at http://{options.host}:{port}/",
        highlight=False, markup=False,
    )  # fmt: skip
    server.run(sockets=[bound])


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address, which does not listen yet.

    Raises:
        InputError: the address is taken, not this machine's, or not allowed.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, UnicodeError) as error:
        bound.close()
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"xopt cannot listen at {host}, port {port}: {why}.",
            hint="--port 0 takes a free port; --host 127.0.0.1 is this machine alone, 0.0.0.0 all "
            "of its addresses.",
        ) from error
    return bound


def read_places(bundles: list[str]) -> dict[str, Path]:
    """``NAME=FOLDER`` or ``FOLDER``, whose last part is then the name.

    Raises:
        InputError: a name stands twice, cannot be sent, or it or its folder is empty.
    """
    places: dict[str, Path] = {}
    for text in bundles:
        name, sign, folder = text.partition("=")
        path = Path(folder if sign else text)
        name = name if sign else path.resolve().name
        if sign and not folder:
            way = name if "/" in name else f"{name or 'NAME'}=FOLDER"
            raise InputError(f"{text!r} has no folder.", hint=f"Type: xopt serve {way}")
        if not name or "/" in name:
            # A folder's own name may have the sign, too.
            given = text if not sign or (name and Path(text).exists()) else folder
            why = f"{name!r} is no name: it has a slash" if name else f"{text!r} has no name"
            raise InputError(f"{why}.", hint=f"Type: xopt serve NAME={shlex.quote(given)}")
        if name in (".", "..") or not name.strip() or not name.isprintable():
            raise InputError(
                f"{name!r} is no name that clients can send.",
                hint="Give another: xopt serve NAME=FOLDER",
            )
        if name in places:
            both = shlex.join([f"{name}={places[name]}", f"{name}-2={path}"])
            raise InputError(
                f"The name {name} stands twice.", hint=f"Give two names: xopt serve {both}"
            )
        places[name] = path
    return places


def _sizes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise InputError(f"--dimensions is {text!r}.", hint="Possible: sizes such as 64,128,256.")
    return sizes
