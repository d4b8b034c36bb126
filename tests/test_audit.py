"""What ``.ci/audit.py`` makes of a database of vulnerabilities, and of what pip-audit printed."""

from __future__ import annotations

import json
import runpy
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from packaging.version import Version

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit.py"
AUDIT = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def between(*events: dict[str, str]) -> dict[str, Any]:
    return {
        "package": {"name": "Some.Package"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }


@pytest.mark.parametrize(
    ("affected", "hit", "free"),
    [
        (between({"introduced": "0"}), ["0.1", "9"], []),
        (between({"introduced": "0"}, {"fixed": "1.10"}), ["1.9", "1.10rc1"], ["1.10", "2"]),
        (between({"introduced": "1.2"}, {"last_affected": "1.4"}), ["1.2", "1.4"], ["1", "1.4.1"]),
        (
            between({"introduced": "1"}, {"fixed": "1.5"}, {"introduced": "2"}, {"fixed": "2.1"}),
            ["1.0", "1.4", "2.0"], ["0.9", "1.5", "1.9", "2.1"],
        ),
        ({"package": {"name": "x"}, "versions": ["1.0", "3"]}, ["1", "3.0"], ["2"]),
    ],
)  # fmt: skip
def test_versions_are_in_or_out(affected: dict[str, Any], hit: list[str], free: list[str]) -> None:
    assert [v for v in (*hit, *free) if AUDIT.is_hit(affected, Version(v))] == hit


def ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["audit.py", *words])
    code: int = AUDIT.main()
    return code


@pytest.mark.parametrize(
    ("changed", "withdrawn", "code"),
    [
        (datetime.now(UTC), False, 1),
        (datetime.now(UTC), True, 2),
        (datetime(2020, 1, 1, tzinfo=UTC), False, 1),
    ],
)
def test_a_database_is_read_without_a_network(
    changed: datetime, withdrawn: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "constraints.txt").write_text("# ours\nsome-package==1.0  # why\nother==2.0\n")
    folder = tmp_path / "vulns" / "some-package"
    folder.mkdir(parents=True)
    entry: dict[str, Any] = {"id": "PYSEC-1", "modified": changed.isoformat()}
    entry["affected"] = [between({"introduced": "0"}, {"fixed": "1.1"})]
    if withdrawn:
        entry["withdrawn"] = changed.isoformat()
    (folder / "PYSEC-1.yaml").write_text(yaml.safe_dump(entry))
    words = ["--constraints", str(tmp_path / "constraints.txt"), "--database", str(tmp_path)]
    assert ended(monkeypatch, *words) == code
    said = capsys.readouterr().out
    assert ("some-package 1.0: PYSEC-1" in said) == (code == 1)
    # Without a newer entry nothing is known of what came to light since.
    assert ("days ago" in said) == (withdrawn or changed.year == 2020)


@pytest.mark.parametrize(
    ("listed", "code", "said"),
    [
        ([{"name": "A", "version": "1", "vulns": []}], 0, "1 packages, 0 with"),
        ([{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-2"}]}], 1, "a 1: PYSEC-2"),
        ([{"name": "a", "skip_reason": "not found"}], 2, "1 were not looked up: a"),
        ([], 2, "1 were not looked up: a"),
    ],
)
def test_what_was_not_looked_up_is_not_called_sound(
    listed: list[dict[str, Any]], code: int, said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "constraints.txt").write_text("a==1\n")
    (tmp_path / "r.json").write_text(json.dumps({"dependencies": listed}))
    words = [
        "--constraints",
        str(tmp_path / "constraints.txt"),
        "--report",
        str(tmp_path / "r.json"),
    ]
    assert ended(monkeypatch, *words) == code
    assert said in capsys.readouterr().out
