"""The table of public checkpoints, and where a machine without them is led."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xopt.cli import app, build, evaluate, tune  # noqa: F401
from xopt.compile import sources
from xopt.compile.public import PUBLIC, ways_to
from xopt.errors import XoptError
from xopt.evaluate.tasks import TASKS

RUN = CliRunner()
REPOSITORY = Path(__file__).parents[2]
UNKNOWN = ("pawsx", "udpos", "panx")


def test_the_document_has_the_table_of_the_code() -> None:
    text = (REPOSITORY / "docs" / "checkpoints.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \| ([\d,]+) \|$", text, re.M)
    found = {task: (name, licence, encoder, mb) for task, name, licence, encoder, mb in rows}
    assert found == {
        task: (known.name, known.licence, known.encoder, f"{known.size_mb:,}")
        for task, known in PUBLIC.items()
    }
    assert {known.licence for known in PUBLIC.values()} <= {"MIT", "Apache-2.0"}
    readme = (REPOSITORY / "README.md").read_text()
    assert all(known.encoder in readme for known in PUBLIC.values())


@pytest.mark.parametrize("task", list(TASKS))
def test_every_way_to_a_bundle_is_a_command_that_exists(task: str) -> None:
    from typer.main import get_command

    commands = get_command(app).commands  # type: ignore[attr-defined]
    typed = re.findall(r"^  (xopt .*)$", ways_to(task), re.M)
    assert typed
    for line in typed:
        name, *words = shlex.split(line)[1:]
        commands[name].make_context(name, words)


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"tatoeba", "bucc2018"}))
def test_a_build_for_a_task_without_a_hub_says_what_to_type(task: str) -> None:
    with pytest.raises(XoptError) as caught:
        sources.locate(None, task=task)
    said = str(caught.value)
    assert f"xopt tune --intermediate none --target {task} --data sample" in said
    assert (PUBLIC[task].name if task in PUBLIC else "No public checkpoint") in said
    assert (task in PUBLIC) is (task not in UNKNOWN)


def test_the_public_checkpoint_of_a_task_is_taken_from_the_hub(
    make_checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint(head="classify", labels=["entailment", "neutral", "contradiction"])
    asked = []

    def find(name: str, *, offline: bool) -> tuple[Path, str]:
        asked.append((name, offline))
        return folder, f"hub:{name}"

    monkeypatch.setattr(sources, "find_on_hub", find)
    assert sources.locate(None, task="xnli").folder == folder
    assert asked == [("MoritzLaurer/multilingual-MiniLMv2-L6-mnli-xnli", False)]


def test_a_head_that_cannot_answer_the_task_is_refused_before_the_build(heads: Any) -> None:
    found = RUN.invoke(app, ["build", str(heads("encoder")), "--task", "panx"])
    assert isinstance(found.exception, XoptError)
    assert "needs 'tag'" in found.exception.message
    assert "xopt tune --intermediate none --target panx" in found.exception.hint


def test_eval_without_a_bundle_leads_to_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path))
    found = RUN.invoke(app, ["eval", "--task", "xnli"])
    assert isinstance(found.exception, XoptError)
    assert "xopt build --task xnli --precision int8" in found.exception.hint
    assert "--data sample" in found.exception.hint


@pytest.mark.parametrize("task", ["xnli", "pawsx", "udpos", "panx", "xquad", "mlqa", "tydiqa"])
def test_the_samples_english_rows_train_a_head_that_answers_the_task(
    task: str, make_checkpoint: Any, tmp_path: Path
) -> None:
    out = tmp_path / "tuned"
    typed = [
        "tune", str(make_checkpoint()), "--intermediate", "none", "--target", task, "--data",
        "sample", "--max-steps", "1", "-o", str(out), "--json",
    ]  # fmt: skip
    found = RUN.invoke(app, typed)
    assert found.exit_code == 0, found.output
    [facts] = json.loads(found.stdout)["training"]["data"]
    assert facts["rows_from"] == "sample"
    assert facts["train"] + facts["dev"] == 24
    checkpoint = sources.locate(str(out))
    from xopt.compile.checkpoint import Checkpoint

    head = Checkpoint.open(checkpoint.folder).head.manifest()
    TASKS.resolve(task)().check(head, "tuned")


def test_the_sample_has_no_rows_for_an_intermediate_task(make_checkpoint: Any) -> None:
    typed = ["tune", str(make_checkpoint()), "--intermediate", "hellaswag", "--data", "sample"]
    found = RUN.invoke(app, typed)
    assert isinstance(found.exception, XoptError)
    assert "has no rows for hellaswag" in found.exception.message
