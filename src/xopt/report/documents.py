"""The JSON documents of xopt, read back: each is checked here once, and nowhere else.

Every document names its schema, such as ``xopt-eval/1``. One without a name is of an xopt before
2026-11-27; it is read where it has what a report needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from xopt.artifacts import Bundle
from xopt.errors import InputError
from xopt.evidence import read_reports
from xopt.publishing import MANIFEST
from xopt.reading import parse_json
from xopt.report.checks import AGAIN, check
from xopt.report.names import place_names
from xopt.report.plain import plain

__all__ = ["Run", "read_runs"]

Kind = Literal["eval", "bench", "sweep", "bundle", "search"]

# What a report is written as.
PAGES = (".html", ".md")
# Kind -> keys by which a document without a schema is known.
KINDS: dict[Kind, tuple[str, str]] = {
    "eval": ("task", "languages"),
    "bench": ("cases", "bundles"),
    "sweep": ("sweep", "tables"),
    "search": ("sites", "kept"),
}
SEARCH = "search.json"


@dataclass(frozen=True)
class Run:
    """One document.

    Attributes:
        kind: ``eval`` (one task), ``bench``, ``sweep``, ``bundle`` (its manifest) or ``search``
            (how ``xopt build --max-drop`` chose the sites of a bundle).
        name: what the page calls it: the file's or the bundle's name, with folders before it where
            another has the same.
        document: as it was read.
        place: the file or folder, as it was given.
        skipped: for a run of several tasks, those that were not scored, with the reason.
    """

    kind: Kind
    name: str
    document: Mapping[str, Any]
    place: str
    skipped: Mapping[str, str] = field(default_factory=dict)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Every document in ``paths``.

    Args:
        paths: JSON files, bundles (their evidence is read too), and folders of either.

    Raises:
        InputError: a path holds nothing that a report can show, or a document is damaged, of a
            newer schema or of another kind; it is named.
        ArtifactError: a bundle's files are not those that were built.
    """
    runs = [run for path in paths for run in _read(path)]
    seen: dict[str, Run] = {}
    for run in runs:
        # A bundle holds a copy of the report that xopt eval printed.
        key = json.dumps([run.kind, _content(run)], sort_keys=True)
        seen.setdefault(key, run)
    kept = list(seen.values())
    places = list(dict.fromkeys(run.place for run in kept))
    names = dict(zip(places, place_names([Path(place) for place in places]), strict=True))
    return [replace(run, name=plain(names[run.place])) for run in kept]


def _content(run: Run) -> Mapping[str, Any]:
    return {k: v for k, v in run.document.items() if k not in ("gate", "left_out", "schema")}


def _read(path: Path) -> Iterable[Run]:
    if path.is_file():
        if path.suffix.lower() in PAGES:
            raise InputError(
                f"{path} is a page, not what one is made of.", hint=f"To write it: -o {path}"
            )
        return _from_file(path)
    if not path.is_dir():
        page = path.suffix.lower() in PAGES
        raise InputError(
            f"There is no bundle or file {path}.",
            hint=f"The page is written with: -o {path}"
            if page
            else "Give bundles, or files that xopt eval, bench or sweep printed with --json.",
        )
    if (path / MANIFEST).is_file():
        return _from_bundle(path)
    found: list[Run] = []
    for inner in sorted(path.iterdir()):
        if inner.suffix == ".json":
            found += _from_file(inner)
        elif (inner / MANIFEST).is_file():
            found += _from_bundle(inner)
    if not found:
        raise InputError(
            f"{path} holds no bundle and no JSON document of xopt.",
            hint="Make one with: xopt eval BUNDLE --task tatoeba --json > run.json",
        )
    return found


def _from_bundle(folder: Path) -> list[Run]:
    bundle = Bundle.open(folder)
    bundle.verify()
    name, place = bundle.folder.resolve().name, str(folder)
    runs = [Run("bundle", name, plain(bundle.manifest), place)]
    for report in read_reports(bundle):
        runs.append(Run("eval", name, check("eval", plain(report), f"{folder}, evidence"), place))
    if SEARCH in bundle.manifest["files"]:
        found = replace(_from_file(folder / SEARCH)[0], name=name, place=place)
        runs.append(found)
    return runs


def _from_file(path: Path) -> list[Run]:
    try:
        document = plain(parse_json(path.read_bytes()))
    except ValueError as error:
        raise InputError(f"{path} is no JSON document: {error}.", hint=AGAIN) from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object, so no document of xopt.", hint=AGAIN)
    name = path.stem
    if isinstance(document.get("tasks"), list) and "groups" in document:
        return _from_suite(document, name, path)
    for kind, keys in KINDS.items():
        named = str(document.get("schema", "")).startswith(f"xopt-{kind}/")
        if named or all(key in document for key in keys):
            return [Run(kind, name, check(kind, document, str(path)), str(path))]
    raise InputError(
        f"{path} is none of the documents that a report shows.",
        hint="It takes what xopt eval, xopt bench and xopt sweep print with --json, and bundles.",
    )


def _from_suite(document: Mapping[str, Any], name: str, path: Path) -> list[Run]:
    entries = [entry for entry in document["tasks"] if isinstance(entry, dict)]
    skipped = {str(e.get("task")): str(e["skipped"]) for e in entries if "skipped" in e}
    runs = [
        Run("eval", name, check("eval", entry, str(path)), str(path), skipped)
        for entry in entries
        if "skipped" not in entry
    ]
    if not runs:
        raise InputError(f"{path}: none of its tasks was scored.")
    return runs
