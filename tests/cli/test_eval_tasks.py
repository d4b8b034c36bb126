"""The folder of submission files is made, or refused, before anything is answered."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from xopt.cli.eval_tasks import submission_folder
from xopt.errors import InputError


def test_each_task_gets_a_folder(tmp_path: Path) -> None:
    assert submission_folder(None, ["xnli"]) is None
    assert submission_folder(str(tmp_path / "a/b"), ["xnli", "panx"]) == tmp_path / "a/b"
    assert sorted(path.name for path in (tmp_path / "a/b").iterdir()) == ["panx", "xnli"]
    assert not list((tmp_path / "a/b/xnli").iterdir())


@pytest.mark.parametrize("name", ["file", "file/x", "taken", "/proc/x"])
def test_what_is_no_folder_is_refused_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/tatoeba").write_text("")
    # Nothing beside the options was looked at: there is no bundle.
    command = importlib.import_module("xopt.cli.evaluate")
    with pytest.raises(InputError, match=f"--submission {name}: ") as caught:
        command.evaluate(bundle="none", data="sample", submission=name)
    assert "Give a folder" in caught.value.hint
