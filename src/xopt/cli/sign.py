"""``xopt sign``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xopt.artifacts import Bundle, sign_bundle
from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import console, print_json

__all__ = ["sign"]


@app.command(
    short_help="Sign a bundle with a key of yours.",
    epilog=examples("xopt sign bundles/e5 --key key.pem"),
)
def sign(
    bundle: Annotated[str, typer.Argument(help="Bundle folder.")],
    key: Annotated[
        Path, typer.Option("--key", help="A private Ed25519 key of OpenSSL or OpenSSH.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle: every file, and what its manifest says.

    A report that is recorded later changes the bundle and takes the signature away.
    """
    signed = sign_bundle(Bundle.open(Path(bundle)), key)
    public = signed.manifest["signed"]["public_key"]
    if as_json:
        print_json({"bundle": str(signed.folder), "public_key": public})
        return
    console().print(f"{signed.folder} is signed by the key {public}", highlight=False)
