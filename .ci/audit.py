"""Whether a pinned version of constraints.txt has a known vulnerability: ``make audit``.

With ``--report FILE``, what pip-audit printed as JSON is judged. pip-audit itself ends with 0 and
"No known vulnerabilities found" also where it could look up none of the packages; here that is no
answer. With ``--database FOLDER``, a checkout of https://github.com/pypa/advisory-database is read,
which needs no network; one whose newest entry is older than ``--days`` is no answer either.

Exit code: 0 nothing is known against any, 1 something is, 2 it could not be told.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

Found = dict[str, list[str]]


def pins(path: Path) -> dict[str, Version]:
    """Package -> version, of lines ``name==version``."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    parts = (line.partition("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, _, version in parts}


def is_hit(affected: Mapping[str, Any], version: Version) -> bool:
    """Whether an ``affected`` of the OSV format names the version: listed, or in a range.

    In a range the events are sorted: from an ``introduced`` on, until a ``fixed`` or behind a
    ``last_affected``.
    """
    if any(Version(listed) == version for listed in affected.get("versions", ())):
        return True
    for span in affected.get("ranges", ()):
        if span["type"] != "ECOSYSTEM":
            continue
        inside = False
        for event in span["events"]:
            if "introduced" in event:
                start = str(event["introduced"])
                inside = inside or start == "0" or version >= Version(start)
            elif "fixed" in event:
                inside = inside and version < Version(str(event["fixed"]))
            elif "last_affected" in event:
                inside = inside and version <= Version(str(event["last_affected"]))
        if inside:
            return True
    return False


def entries(database: Path) -> Iterator[dict[str, Any]]:
    """Every vulnerability of the database that was not withdrawn."""
    for path in sorted(database.glob("vulns/*/*.yaml")):
        entry = yaml.load(
            path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        if not entry.get("withdrawn"):
            yield entry


def audit_database(database: Path, wanted: Mapping[str, Version]) -> tuple[Found, datetime]:
    """Package -> ids of what is known against its version; and when the newest entry changed."""
    found: Found = {}
    newest = datetime.min.replace(tzinfo=UTC)
    for entry in entries(database):
        newest = max(newest, datetime.fromisoformat(str(entry["modified"])))
        for affected in entry.get("affected", ()):
            name = canonicalize_name(affected["package"]["name"])
            if name in wanted and is_hit(affected, wanted[name]):
                found.setdefault(name, []).append(entry["id"])
    return found, newest


def audit_report(report: Path, wanted: Mapping[str, Version]) -> tuple[Found, list[str]]:
    """Package -> ids, of what pip-audit printed; and the packages that it did not look up."""
    listed = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
    asked = {canonicalize_name(d["name"]): d for d in listed if "skip_reason" not in d}
    found = {name: [v["id"] for v in asked[name]["vulns"]] for name in wanted if name in asked}
    return {name: ids for name, ids in found.items() if ids}, sorted(set(wanted) - set(asked))


def main() -> int:
    """Judge the pins."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--constraints", type=Path, default=Path("constraints.txt"))
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--report", type=Path, help="what pip-audit --format json printed")
    source.add_argument("--database", type=Path, help="a checkout of pypa/advisory-database")
    parser.add_argument("--days", type=int, default=60, help="most that the database may be old")
    given = parser.parse_args()
    wanted = pins(given.constraints)
    unknown = ""
    if given.report is not None:
        found, lacking = audit_report(given.report, wanted)
        if lacking:
            unknown = f"{len(lacking)} were not looked up: {', '.join(lacking)}"
    else:
        found, newest = audit_database(given.database, wanted)
        if datetime.now(UTC) - newest > timedelta(days=given.days):
            unknown = f"the database ends on {newest:%Y-%m-%d}, more than {given.days} days ago"
    for name, ids in sorted(found.items()):
        print(f"{name} {wanted[name]}: {', '.join(ids)}")
    print(f"{len(wanted)} packages, {len(found)} with a known vulnerability"
          + (f"; {unknown}" if unknown else ""))  # fmt: skip
    return 1 if found else 2 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
