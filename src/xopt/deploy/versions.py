"""Versions of a model in Triton's repository: one is added, or replaced, beside the others.

Triton has one configuration for all versions of a model, so they have to be of one form. Nothing of
the others is touched, and neither is a configuration that somebody may have changed by hand.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from xopt.artifacts import Bundle
from xopt.deploy.places import MARK, check_servable
from xopt.engines.signature import Signature
from xopt.engines.tensorrt.compat import RunsOn
from xopt.errors import ArtifactError, InputError
from xopt.publishing import flush, unique_beside
from xopt.reading import parse_json

__all__ = [
    "FACTS", "VERSIONS", "Form", "add_version", "check_others", "check_version", "versions_of",
]  # fmt: skip

# Of a bundle whose engine is another model, what its front keeps.
FACTS = ("signature", "engine", "head", "text", "precision", "fingerprint")
# Which versions a server loads: the newest, and the one that it may have to go back to.
VERSIONS = "latest { num_versions: 2 }"
# Triton counts in 64 bits.
MOST = 2**63 - 1


@dataclass(frozen=True)
class Form:
    """What all versions of a model have in common, each field by its name for a reader."""

    target: str
    answers: str
    values: int
    labels: tuple[str, ...]
    inputs: str
    profiles: int
    library: str

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Of a bundle, or of what a repository has kept of one."""
        signature = Signature.read(bundle.manifest)
        rows = " for each token" if signature.per_token else ""
        inputs, profiles, library = "", 0, ""
        if bundle.target == "tensorrt":
            engine = bundle.manifest["engine"]
            later = " or later" if RunsOn.read(engine).later else ""
            inputs, profiles = json.dumps(engine["inputs"]), len(engine["profiles"])
            library = f"TensorRT {engine['version']}{later}"
        return cls(
            target=bundle.target,
            answers=f"{bundle.head['kind']}, {signature.output}{rows}",
            values=signature.width,
            labels=tuple(bundle.head.get("labels") or ()),
            inputs=inputs,
            profiles=profiles,
            library=library,
        )

    def difference(self, other: Self) -> str | None:
        """What of ``other`` is not as here, in words; None where nothing is."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs:
                return f"{field.name} {_shown(theirs)}, and not {_shown(mine)}"
        return None


def check_version(number: int) -> None:
    """Refuse what is no version of a model.

    Raises:
        InputError: it is none.
    """
    if not 1 <= number <= MOST:
        raise InputError(f"--version is {number}; it is from 1 to {MOST}.")


def versions_of(out: Path, name: str) -> list[int]:
    """The versions of the model in a folder that was written before; none where there is none."""
    if not (out / MARK).is_file() or not (out / "models" / name / "config.pbtxt").is_file():
        return []
    found = [path.name for path in (out / "models" / name).iterdir() if path.is_dir()]
    return sorted(int(n) for n in found if n.isascii() and n.isdecimal() and n[0] != "0")


def check_others(out: Path, name: str) -> None:
    """Refuse a folder that has other models: which, and how both are served.

    Raises:
        InputError: it has.
    """
    found = [
        path.name for path in sorted((out / "models").glob("*")) if versions_of(out, path.name)
    ]
    # An engine's own model belongs to the one that asks it.
    others = [n for n in found if not n.endswith("_engine") or n[:-7] not in found]
    if not others:
        return
    other = others[0]
    raise InputError(
        f"{out} exists, and has {', '.join(others)}, and no model {name}.",
        hint=f"A version of {other} is added with --name {other} --version "
        f"{max(versions_of(out, other)) + 1}. To serve both models, choose another place with -o, "
        f"and copy what is in its models/ to {out / 'models'}. --force replaces all that is there.",
    )


def add_version(
    bundle: Bundle, out: Path, name: str, number: int, write: Callable[[Path], None]
) -> list[Path]:
    """Put a version beside those that are there, in the place of the same one.

    It is written outside of ``models/`` and renamed, the engine's model before the one that asks
    it, so a server that reads the folder meets it whole or not at all.

    Args:
        bundle: every file is checked before anything is written.
        out: the folder, which has other versions of the model.
        name: of the model.
        number: of the version.
        write: is given a folder that takes the place of ``models/``.

    Returns:
        Every new file, relative to ``out``.

    Raises:
        ArtifactError: a file of the bundle, or a version that is there, is not as it was written.
        InputError: the bundle cannot be a version of this model.
        UnsupportedError: the bundle is of a target that answers nothing.
    """
    check_servable(bundle)
    mine = Form.of(bundle)
    for other in versions_of(out, name):
        if other == number:
            continue
        differs = _read_form(out / "models" / name / str(other)).difference(mine)
        if differs is not None:
            raise InputError(
                f"This bundle cannot be a version of {name} beside version {other}: it has "
                f"{differs}, and versions share one configuration.",
                hint="Choose another folder with -o; to serve both at once, another --name too, "
                f"and copy what is in its models/ to {out / 'models'}.",
            )
    bundle.verify()
    work = unique_beside(out / "version", "partial")
    try:
        work.mkdir()
        write(work / "new")
        written = sorted(path for path in (work / "new").rglob("*") if path.is_file())
        for path in written:
            flush(path)
        for place in (f"{name}_engine", name):
            new = work / "new" / place / str(number)
            if new.is_dir():
                _put(new, out / "models" / place / str(number), work / f"{place}.old")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [Path("models", path.relative_to(work / "new")) for path in written]


def _put(new: Path, final: Path, old: Path) -> None:
    """Rename ``new`` to ``final``, and what stands there away; on a failure back."""
    with contextlib.suppress(FileNotFoundError):
        final.rename(old)
    try:
        new.rename(final)
    except OSError:
        if old.exists() and not final.exists():
            old.rename(final)
        raise
    flush(final.parent)


def _read_form(version: Path) -> Form:
    """Of a version that is there.

    Raises:
        ArtifactError: it is damaged, or nothing that xopt wrote.
    """
    kept = version / "bundle.json"
    try:
        if kept.is_file():
            facts: dict[str, Any] = parse_json(kept.read_bytes())
            return Form.of(Bundle(version, {"target": "tensorrt", **facts}))
        return Form.of(Bundle.open(version / "bundle"))
    except (ArtifactError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{version} is no version that xopt wrote, or is damaged: {error}",
            hint="Remove it, or choose another folder with -o.",
        ) from error


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "none"
