"""A bundle on the Hugging Face hub: its own files, and its card as the repository's README."""

from __future__ import annotations

import os
import re
from typing import Any

from xopt.artifacts import Bundle
from xopt.errors import InputError, XoptError, require
from xopt.hub import MIRROR, hub_at_hand
from xopt.publishing import MANIFEST

__all__ = ["push_bundle", "readme"]

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
DENIED = (401, 403)


def push_bundle(bundle: Bundle, repo: str, *, private: bool = False) -> str:
    """Make the repository where it is not there, and put every file of the bundle into one commit.

    Args:
        bundle: verified first; nothing but what was built is sent.
        repo: ``OWNER/NAME``.
        private: of a repository that is made.

    Returns:
        The commit's address.

    Raises:
        InputError: no such form of a name.
        ArtifactError: the bundle is damaged.
        XoptError: the hub refused, or is out of reach.
    """
    if not HUB_NAME.fullmatch(repo):
        raise InputError(
            f"{repo!r} is no name of a repository.", hint="Type: xopt push BUNDLE OWNER/NAME"
        )
    bundle.verify()
    with hub_at_hand(why="xopt push") as found:
        hub, api = found.library, found.library.HfApi()
        if found.fault:
            raise XoptError(
                f"{repo} was not pushed: {found.fault}.",
                hint=f"Type it again where the hub can be reached, or {MIRROR}",
            )
        names = [*bundle.manifest["files"], MANIFEST]
        added = [hub.CommitOperationAdd(name, str(bundle.folder / name)) for name in names]
        added.append(hub.CommitOperationAdd("README.md", readme(bundle, repo).encode()))
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            done = api.create_commit(
                repo, added, commit_message=f"xopt bundle {bundle.fingerprint[:16]}"
            )
        except Exception as error:
            raise _explained(error, repo, api.endpoint) from error
    return str(done.commit_url)


def readme(bundle: Bundle, repo: str) -> str:
    """The card below what the hub reads of a repository, and how to run it."""
    card = (bundle.folder / "card.md").read_text(encoding="utf-8")
    facts = ["library_name: xopt", "tags:", f"- {bundle.precision}", f"- {bundle.target}"]
    base = re.match(r"hub:([\w.-]+/[\w.-]+)", str(bundle.manifest["checkpoint"]))
    if base:
        facts += [f"base_model: {base[1]}", "base_model_relation: quantized"]
    name = repo.partition("/")[2]
    use = [
        "## Using it",
        "",
        f"    hf download {repo} --local-dir {name}",
        f'    xopt run {name} "Habari za asubuhi"',
        "",
    ]
    return "\n".join(["---", *facts, "---", "", card.rstrip(), "", *use])


def _explained(error: Exception, repo: str, endpoint: str) -> XoptError:
    status: Any = getattr(getattr(error, "response", None), "status_code", None)
    if status in DENIED:
        who = "no token" if not (os.environ.get("HF_TOKEN") or _logged_in()) else "this token"
        return XoptError(
            f"{endpoint} lets {who} write nothing to {repo} ({status}).",
            hint="Log in with a token that may write: hf auth login (or set HF_TOKEN)",
        )
    said = " ".join(str(error).split())
    if status is not None:
        return XoptError(f"{endpoint} refused {repo} with {status}: {said:.200}")
    return XoptError(
        f"The connection to {endpoint} was lost: {type(error).__name__}: {said:.200}",
        hint=f"Type it again where the hub can be reached, or {MIRROR}",
    )


def _logged_in() -> bool:
    hub = require("huggingface_hub", extra="build", why="xopt push")
    return hub.get_token() is not None
