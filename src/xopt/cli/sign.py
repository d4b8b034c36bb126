"""``xopt sign``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from xopt import signing
from xopt.artifacts import SIGNATURE, Artifact, Bundle
from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import console, print_json
from xopt.publishing import MANIFEST, write_whole

__all__ = ["sign", "sign_bundle"]


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


def sign_bundle(bundle: Bundle, key: Path) -> Bundle:
    """Put the signature of a private key into a bundle's manifest, in place of an earlier one.

    Raises:
        ArtifactError: the bundle's files are not those that were built.
        InputError: the file holds no private key.
    """
    Artifact.verify(bundle)
    signature = signing.sign(str(bundle.manifest["checksum"]), key)
    text = json.dumps({**bundle.manifest, SIGNATURE: signature}, indent=2, ensure_ascii=False)
    write_whole(bundle.folder / MANIFEST, text + "\n")
    return Bundle.open(bundle.folder)
