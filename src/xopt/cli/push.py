"""``xopt push``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xopt.artifacts import Bundle
from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.output import console, print_json
from xopt.export.push import push_bundle

__all__ = ["push"]


@app.command(
    short_help="Put a bundle on the Hugging Face hub.",
    epilog=examples("xopt push bundles/e5 OWNER/e5-int8 --private"),
)
def push(
    bundle: Annotated[str, typer.Argument(help="Bundle folder.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="A repository that is made is private.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a bundle on the Hugging Face hub, its card as README, in one commit."""
    found = push_bundle(Bundle.open(Path(bundle)), repo, private=private)
    if as_json:
        print_json({"repo": repo, "commit": found})
        return
    console().print(found, highlight=False)
    console().print(f"Next: hf download {repo} --local-dir DIR", highlight=False)
