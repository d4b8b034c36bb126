"""The folder that a deployment is written into: ours, or refused; and the bundle's copy in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from xopt import __version__
from xopt.artifacts import Bundle
from xopt.errors import InputError, UnsupportedError
from xopt.publishing import LOCK, check_outside, swap, unique_beside

__all__ = [
    "COMPOSE_GPU", "MARK", "WHEEL", "check_least", "check_name", "check_servable", "copy_bundle",
    "extras_of", "name_of", "write_folder",
]  # fmt: skip

# What says that a folder is ours, and may be replaced.
MARK = "xopt-deploy.json"
WHEEL = f"xopt_encoders-{__version__}-py3-none-any.whl"
# Target -> extras of the wheel that run it.
EXTRAS = {"cuda": "cuda", "tensorrt-rtx": "tensorrt-rtx", "torch-tensorrt": "torch-tensorrt"}

# What lets a service of a compose file see a GPU.
COMPOSE_GPU = """\
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: 1
              capabilities: [gpu]
"""


def extras_of(bundle: Bundle, *others: str) -> str:
    """Extras of the wheel that run the bundle, after ``others``, as pip takes them: by commas."""
    own = [EXTRAS[bundle.target]] if bundle.target in EXTRAS else []
    return ",".join([*others, *own])


def copy_bundle(bundle: Bundle, to: Path) -> None:
    """The bundle's folder, without the lock that a build may have left in it."""
    shutil.copytree(bundle.folder, to, ignore=shutil.ignore_patterns(LOCK))


def check_name(name: str) -> None:
    """Refuse what is no name for a model.

    Raises:
        InputError: it is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(
            f"{name!r} is no name for a model.",
            hint="Use letters, digits, dots, dashes and underscores.",
        )


def check_least(**options: int) -> None:
    """Refuse numbers below 1.

    Raises:
        InputError: one is; said with its option.
    """
    for name, value in options.items():
        if value < 1:
            raise InputError(f"--{name} is {value}; at least 1.", hint=f"Give --{name} 1 or more.")


def check_servable(bundle: Bundle) -> None:
    """Refuse what answers nothing.

    Raises:
        UnsupportedError: the bundle is of the target null.
    """
    if bundle.target == "null":
        raise UnsupportedError("A bundle of the target null answers nothing worth serving.")


def name_of(bundle: Bundle, asked: str | None) -> str:
    """The model's name: the one asked for, or the folder's, which has to be one too.

    Raises:
        InputError: the folder's name gives none.
    """
    if asked is not None:
        return asked
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", bundle.folder.resolve().name)
    try:
        check_name(name)
    except InputError as error:
        raise InputError(
            f"The bundle's folder gives the model the name {name!r}, which is none.",
            hint="Choose one with --name.",
        ) from error
    return name


def write_folder(
    bundle: Bundle, out: Path, write: Callable[[Path], None], *, force: bool = False
) -> list[Path]:
    """Let ``write`` fill a new folder beside ``out``, which then takes its place.

    Args:
        bundle: every file is checked before anything is written.
        out: a new or empty folder.
        write: is given the folder.
        force: replace what an earlier call has written there.

    Returns:
        Every file, relative to ``out``.

    Raises:
        ArtifactError: a file of the bundle is not the one that was built.
        InputError: ``out`` exists.
        UnsupportedError: the bundle is of a target that answers nothing.
    """
    check_servable(bundle)
    bundle.verify()
    out = out.resolve()
    _make_room(out, force=force)
    work = unique_beside(out, "partial")
    try:
        work.mkdir(parents=True)
        write(work)
        mark = {"xopt": __version__, "bundle": bundle.fingerprint}
        (work / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
        # Behind the swap another deployment may take this one's place.
        written = sorted(path.relative_to(work) for path in work.rglob("*") if path.is_file())
        swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return written


def _make_room(out: Path, *, force: bool) -> None:
    check_outside(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MARK).is_file():
        raise InputError(
            f"{out} exists, and xopt deploy did not write it.",
            hint="Choose another place with -o.",
        )
    if not force:
        raise InputError(
            f"{out} exists, and has another deployment.",
            hint="Choose another place with -o, or replace all that is there with --force.",
        )
