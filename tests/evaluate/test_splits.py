"""A copy of the data whose test split is absent or has no labels."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xopt.artifacts import Bundle
from xopt.cli import app, evaluate  # noqa: F401
from xopt.errors import XoptError
from xopt.evaluate.data import SAMPLE, open_source
from xopt.evaluate.splits import settle_split
from xopt.evaluate.tasks import TASKS

RUN = CliRunner()
FOLDERS = {"xnli": "XNLI", "pawsx": "PAWS-X.sw", "udpos": "udpos.Swahili", "panx": "PAN-X.sw"}
EMPTY: dict[str, Any] = {"xnli": "", "pawsx": "-1", "udpos": [], "panx": [-1, -1]}


def copied(task: str, folder: Path, *splits: str) -> Path:
    """The sample's rows of a task under these splits."""
    place = FOLDERS[task]
    (folder / place).mkdir(parents=True)
    for split in splits:
        shutil.copyfile(SAMPLE / place / "test.jsonl", folder / place / f"{split}.jsonl")
    return folder


def without_labels(task: str, folder: Path, *, column: bool) -> None:
    path = folder / FOLDERS[task] / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    name = TASKS.resolve(task).gold
    for row in rows:
        if column:
            row[name] = EMPTY[task]
        else:
            del row[name]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def settled(task: str, folder: Path) -> tuple[str, str]:
    # A folder of one language: the task looks for those of XTREME.
    found = TASKS.resolve(task)()
    for code in ("sw",):
        if code not in found.languages:
            object.__setattr__(found, "languages", (code,))
    changed, said = settle_split(found, open_source(str(folder), probe=found.probe()))
    return changed.split, said


@pytest.mark.parametrize("task", FOLDERS)
def test_validation_is_scored_where_it_is_all_there_is(task: str, tmp_path: Path) -> None:
    split, said = settled(task, copied(task, tmp_path, "validation"))
    assert split == "validation"
    assert f"has no test split of {task}: its validation split is scored." in said


@pytest.mark.parametrize("column", [True, False])
@pytest.mark.parametrize("task", FOLDERS)
def test_a_test_split_without_labels_is_not_scored(task: str, column: bool, tmp_path: Path) -> None:
    folder = copied(task, tmp_path, "test", "validation")
    assert settled(task, folder) == ("test", "")
    without_labels(task, folder, column=column)
    split, said = settled(task, folder)
    assert split == "validation"
    assert "has no labels in its test split" in said


@pytest.mark.parametrize("task", FOLDERS)
def test_without_another_split_the_task_stays_as_it_is(task: str, tmp_path: Path) -> None:
    folder = copied(task, tmp_path, "test")
    without_labels(task, folder, column=True)
    assert settled(task, folder) == ("test", "")


def test_eval_says_which_split_it_scored(bundles: Callable[..., Bundle], tmp_path: Path) -> None:
    folder = copied("xnli", tmp_path / "data", "validation")
    typed = ["eval", str(bundles("nli").folder), "--task", "xnli", "--data", str(folder)]
    typed += ["--resamples", "20", "--no-record", "--json"]
    found = RUN.invoke(app, typed)
    assert found.exit_code == 0, found.exception
    assert "its validation split is scored" in found.stderr
    assert json.loads(found.stdout)["conventions"]["split"] == "validation"
    refused = RUN.invoke(app, [*typed, "--split", "test"])
    assert isinstance(refused.exception, XoptError)
    assert "add --split validation" in refused.exception.hint
