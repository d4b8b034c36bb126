"""Nothing is written into a bundle that its manifest does not name."""

import shutil
from pathlib import Path

import pytest
from tests.core.made import make_bundle

from xopt.cli.config import init
from xopt.cli.eval_tasks import submission_folder
from xopt.cli.report import report
from xopt.errors import InputError
from xopt.publishing import check_outside, publish
from xopt.tune.sweep.run import held


def _published(place: Path) -> None:
    with publish(place):
        pass


def _held(place: Path) -> None:
    with held(place):
        pass


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: report([folder], folder / "report.html"),
        lambda folder: init(folder / "xopt.toml"),
        lambda folder: submission_folder(str(folder), ["xnli"]),
        lambda folder: submission_folder(str(folder / "out"), ["xnli"]),
        lambda folder: _published(folder / "ranges"),
        lambda folder: _published(folder / "deeper" / "ranges"),
        lambda folder: _held(folder / "sweep"),
        lambda folder: _held(folder),
    ],
)
def test_a_command_does_not_write_into_a_bundle(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bundle = make_bundle(tmp_path / "e5")
    before = sorted(bundle.folder.rglob("*"))
    with pytest.raises(InputError, match="would lie in the bundle") as caught:
        write(bundle.folder)
    assert "outside of it with -" in caught.value.hint
    assert sorted(bundle.folder.rglob("*")) == before
    bundle.verify()


def test_the_working_folder_and_a_link_are_seen_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_bundle(tmp_path / "e5").folder
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InputError):
        check_outside(tmp_path / "link" / "x.npy")
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="with --output"):
        check_outside(Path("x.npy"), "--output")


def test_what_is_no_bundle_is_written_into(tmp_path: Path) -> None:
    for name, text in [("a", "{}"), ("b", "no JSON"), ("c", "[]"), ("d", '{"kind": "export"}')]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
        check_outside(tmp_path / name / "x")
    # A bundle takes the place of a bundle.
    folder = make_bundle(tmp_path / "e5").folder
    check_outside(folder)
    shutil.rmtree(folder)
