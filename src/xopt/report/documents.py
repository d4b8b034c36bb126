"""The JSON documents of xopt, read back: each is checked here once, and nowhere else.

Every document names its schema, such as ``xopt-eval/1``. One without a name is of an xopt before
2026-11-27; it is read where it has what a report needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xopt.artifacts import Bundle
from xopt.errors import InputError
from xopt.evidence import read_reports
from xopt.forms import misfit
from xopt.publishing import MANIFEST
from xopt.reading import parse_json
from xopt.report.shapes import SHAPES

__all__ = ["Run", "read_runs"]

Kind = Literal["eval", "bench", "sweep", "bundle"]

# Kind -> (newest schema that is read, keys that a document of it has).
KINDS: dict[Kind, tuple[int, tuple[str, ...]]] = {
    "eval": (1, ("task", "languages", "mean", "worst", "throughput", "data", "precision")),
    "bench": (1, ("cases", "bundles", "host")),
    "sweep": (1, ("sweep", "tables", "pareto", "targets")),
}
AGAIN = "Make the document again with the command that printed it."


@dataclass(frozen=True)
class Run:
    """One document.

    Attributes:
        kind: ``eval`` (one task), ``bench``, ``sweep`` or ``bundle`` (its manifest).
        name: what the page calls it: the file's or the bundle's name.
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
    return list(seen.values())


def _content(run: Run) -> Mapping[str, Any]:
    return {k: v for k, v in run.document.items() if k not in ("gate", "left_out", "schema")}


def _read(path: Path) -> Iterable[Run]:
    if path.is_file():
        return _from_file(path)
    if not path.is_dir():
        raise InputError(
            f"There is no bundle or file {path}.",
            hint="Give bundles, or files that xopt eval, bench or sweep printed with --json.",
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
    name = bundle.folder.resolve().name
    runs = [Run("bundle", name, bundle.manifest, str(folder))]
    for report in read_reports(bundle):
        _check("eval", report, f"{folder}, evidence")
        runs.append(Run("eval", name, report, str(folder)))
    return runs


def _from_file(path: Path) -> list[Run]:
    try:
        document = parse_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is no JSON document: {error}.", hint=AGAIN) from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object, so no document of xopt.", hint=AGAIN)
    name = path.stem
    if isinstance(document.get("tasks"), list) and "groups" in document:
        return _from_suite(document, name, path)
    for kind, (_, keys) in KINDS.items():
        named = str(document.get("schema", "")).startswith(f"xopt-{kind}/")
        if named or all(key in document for key in keys[:2]):
            _check(kind, document, str(path))
            return [Run(kind, name, document, str(path))]
    raise InputError(
        f"{path} is none of the documents that a report shows.",
        hint="It takes what xopt eval, xopt bench and xopt sweep print with --json, and bundles.",
    )


def _from_suite(document: Mapping[str, Any], name: str, path: Path) -> list[Run]:
    entries = [entry for entry in document["tasks"] if isinstance(entry, dict)]
    skipped = {str(e.get("task")): str(e["skipped"]) for e in entries if "skipped" in e}
    runs = []
    for entry in entries:
        if "skipped" not in entry:
            _check("eval", entry, str(path))
            runs.append(Run("eval", name, entry, str(path), skipped))
    if not runs:
        raise InputError(f"{path}: none of its tasks was scored.")
    return runs


def _check(kind: Kind, document: Mapping[str, Any], where: str) -> None:
    """Refuse a document that a page would show wrongly."""
    newest, _ = KINDS[kind]
    schema = document.get("schema")
    if schema is not None:
        stated, _, version = str(schema).partition("/")
        if stated != f"xopt-{kind}" or not version.isdigit() or int(version) > newest:
            raise InputError(
                f"{where} has the schema {schema}; this xopt reads xopt-{kind}/{newest}.",
                hint="Make the document again, or install the xopt that made it.",
            )
    if wrong := misfit(document, SHAPES[kind]):
        raise InputError(f"{where} is damaged: {wrong}.", hint=AGAIN)
    if kind == "eval":
        _check_eval(document, where)
    if kind == "bench" and not all(
        timed and all(found["samples_ms"] and found["median_ms"] > 0 for found in timed.values())
        for timed in document["cases"].values()
    ):
        raise InputError(f"{where} is damaged: a case has no times.", hint=AGAIN)


def _check_eval(document: Mapping[str, Any], where: str) -> None:
    """What one figure says of another."""
    languages = document["languages"]
    if not languages:
        raise InputError(f"{where} is damaged: it scores no language.", hint=AGAIN)
    if document["worst"]["language"] not in languages:
        raise InputError(f"{where} is damaged: its worst language was not scored.", hint=AGAIN)
    if document["reference_throughput"]["tokens_per_s"] <= 0:
        raise InputError(f"{where} is damaged: its reference took no time.", hint=AGAIN)
