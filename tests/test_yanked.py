"""What ``.ci/yanked.py`` makes of an index, of which pip is the reader."""

from __future__ import annotations

import runpy
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "yanked.py"
YANKED = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def release(index: Path, name: str, mark: str) -> None:
    """Version 1.0 of a package that holds nothing, on an index of files (PEP 503 and 592)."""
    folder = index / name
    folder.mkdir(parents=True)
    wheel = f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / wheel, "w") as file:
        about = f"{name}-1.0.dist-info"
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", "")
    (folder / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel}"{mark}>{wheel}</a>')


def ended(index: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    pins = index.parent / "pins.txt"
    pins.write_text("sound==1.0\nbroken==1.0\n")
    monkeypatch.setenv("PIP_INDEX_URL", index.as_uri())
    # Its copy has no mark, and pip would take it first.
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "broken"))
    monkeypatch.setattr(sys, "argv", ["yanked.py", "--pins", str(pins)])
    code: int = YANKED.main()
    return code


def test_a_version_that_its_owner_took_back_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release(tmp_path / "index", "sound", "")
    release(tmp_path / "index", "broken", ' data-yanked="loses data"')
    assert ended(tmp_path / "index", monkeypatch) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "broken==1.0"
    assert "loses data" in said
    assert "2 versions, 1 of them yanked" in said


def test_an_index_that_cannot_be_asked_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(tmp_path / "absent", monkeypatch) == 2
    assert "could not be asked" in capsys.readouterr().out


def test_what_was_not_told_is_not_called_sound() -> None:
    def item(name: str, **facts: bool) -> dict[str, object]:
        return {"metadata": {"name": name}, **facts}

    report = {"install": [item("Some.Name", is_yanked=False), item("old-pip")]}
    pins = ["some-name==1", "old_pip==1", "absent==1"]
    assert YANKED.judge(report, pins) == ([], ["old_pip==1", "absent==1"])


def test_what_is_installed_is_asked_for_by_public_versions() -> None:
    pins = YANKED.installed()
    assert "xopt" not in str(pins)
    assert any(pin.startswith("numpy==") for pin in pins)
    assert not any("+" in pin for pin in pins)
