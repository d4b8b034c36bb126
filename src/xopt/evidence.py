"""What is known of bundles on this machine, and the evidence a bundle carries with it."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle, publish, write_manifest
from xopt.card import render_card
from xopt.disk_errors import disk_hint
from xopt.errors import ArtifactError
from xopt.forms import reads
from xopt.hashing import cache_folder, locked
from xopt.publishing import LOCK, MANIFEST, write_whole
from xopt.reading import parse_json

__all__ = ["built_with", "known_builds", "read_reports", "record_build", "record_report"]

log = logging.getLogger(__name__)

KEPT = 200
EVIDENCE = "evidence"


def known_builds() -> Iterator[dict[str, Any]]:
    """Builds of this machine that are still there, newest first: folder, fingerprint, options.

    A bundle is only opened when its turn comes: most callers stop at the first that fits.
    """
    try:
        listed = parse_json((cache_folder() / "builds.json").read_bytes())
    except (OSError, ValueError):
        return
    if isinstance(listed, list):
        yield from filter(_is_build, listed)


def built_with(bundle: Bundle) -> dict[str, Any] | None:
    """The options of the build that made a bundle; None where that was on another machine."""
    return next(
        (e["options"] for e in known_builds() if e["fingerprint"] == bundle.fingerprint), None
    )


def _is_build(entry: Any) -> bool:
    """Whether an entry has its form and its bundle can still be opened."""
    if not isinstance(entry, dict) or not {"folder", "fingerprint", "options"} <= set(entry):
        return False
    try:
        Bundle.open(Path(entry["folder"]))
    except ArtifactError:
        return False
    return True


def record_build(bundle: Bundle, options: Mapping[str, Any]) -> None:
    """Remember a bundle as the newest, with the options that made it.

    Where the cache cannot be written, that is only said: the bundle stands.
    """
    folder = str(bundle.folder.resolve())
    entry = {"folder": folder, "fingerprint": bundle.fingerprint, "options": dict(options)}
    path = cache_folder() / "builds.json"
    try:
        with locked(path):
            listed = [entry, *(other for other in known_builds() if other["folder"] != folder)]
            write_whole(path, json.dumps(listed[:KEPT], indent=1) + "\n")
    except OSError as error:
        log.warning(
            "%s is complete, but commands without a bundle's name will not find it: %s: %s. %s.",
            bundle.folder, path, error.strerror or error, disk_hint(error, path),
        )  # fmt: skip


def read_reports(bundle: Bundle) -> list[dict[str, Any]]:
    """The evaluation reports recorded in a bundle.

    Raises:
        ArtifactError: a file of them is no JSON.
    """
    found = []
    for path in sorted((bundle.folder / EVIDENCE).glob("*.json")):
        try:
            found.append(parse_json(path.read_bytes()))
        except ValueError as error:
            raise ArtifactError(f"{path} is damaged: {error}.") from error
    return found


def record_report(bundle: Bundle, report: Mapping[str, Any]) -> Bundle:
    """Put a report into the bundle, one for each task and data set, and render its card again.

    The bundle is replaced as a whole, so that it is never found with a checksum that is off.

    Raises:
        ArtifactError: another bundle stands in its folder by now.
    """
    # Two evaluations that end at once must not lose each other's report.
    with locked(bundle.folder):
        present = Bundle.open(bundle.folder)
        if present.fingerprint != bundle.fingerprint:
            raise ArtifactError(
                f"{bundle.folder} was built anew while the old bundle was evaluated: the report "
                "belongs to what is no longer there.",
                hint="Evaluate it again.",
            )
        return _with_report(present, report)


def _with_report(bundle: Bundle, report: Mapping[str, Any]) -> Bundle:
    keep = {k: v for k, v in bundle.manifest.items() if k not in _WRITTEN}
    with publish(bundle.folder) as work:
        for path in bundle.folder.rglob("*"):
            if path.is_file() and path.name not in (MANIFEST, LOCK, "card.md"):
                target = work / path.relative_to(bundle.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(path, target)
        name = _evidence_name(bundle, report)
        (work / EVIDENCE).mkdir(exist_ok=True)
        (work / EVIDENCE / name).unlink(missing_ok=True)
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (work / EVIDENCE / name).write_text(text, encoding="utf-8")
        reports = read_reports(Bundle(work, bundle.manifest))
        (work / "card.md").write_text(_card(bundle, keep, reports), encoding="utf-8")
        write_manifest(work, Bundle.kind, bundle.fingerprint, keep)
    return Bundle.open(bundle.folder)


def _card(bundle: Bundle, facts: Mapping[str, Any], reports: list[dict[str, Any]]) -> str:
    # No engine needs what only a card says, so no form of a manifest asks for it.
    hint = "Build it again; without the report in the bundle: xopt eval --no-record"
    with reads(f"{bundle.folder}: its manifest lacks what its card says", hint=hint):
        return render_card(facts, reports)


# A signature is one of the bundle as it was.
_WRITTEN = ("kind", "schema", "fingerprint", "created", "files", "checksum", "signed")


def _evidence_name(bundle: Bundle, report: Mapping[str, Any]) -> str:
    """One file per task and data; a few languages do not push out a report on more of them."""
    name = f"{report['task']}-{report['data']['kind']}"
    if report.get("predicted"):
        name += "-predicted"
    path = bundle.folder / EVIDENCE / f"{name}.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))["languages"]
        if set(report["languages"]) < set(before):
            return f"{name}-{'-'.join(sorted(report['languages']))[:80]}.json"
    return f"{name}.json"


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
