"""Several tasks at once, submission files, and runs that go on where they stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xopt.artifacts import Bundle
from xopt.evaluate.data import open_source
from xopt.evaluate.resume import Partial
from xopt.evaluate.retention import compare_bundles
from xopt.evaluate.session import Session
from xopt.evaluate.suite import combine_reports
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.conventions import make_task

Bundles = Callable[..., Bundle]
SAMPLE = open_source("sample", probe=("", ""))
CHECKPOINTS = ("nli", "pair", "pos", "ner", "qa", "encoder")


def xopt(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "xopt", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )


def test_all_tasks_in_one_table_and_one_document(bundles: Bundles, tmp_path: Path) -> None:
    for name in CHECKPOINTS:
        bundles(name, "int8")
    common = ("--data", "sample", "--languages", "sw", "--resamples", "50", "--no-record")
    done = xopt("eval", "--task", "all", *common, "--json", "--submission", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [entry["task"] for entry in found["tasks"]] == list(TASKS)
    assert not [entry for entry in found["tasks"] if "skipped" in entry]
    assert set(found["groups"]) == {"classification", "tagging", "qa", "retrieval"}
    means = [entry["mean"]["reference"] for entry in found["tasks"]]
    assert found["average"]["reference"] == pytest.approx(sum(means) / 9)
    for name, ending in ((n, "json" if TASKS.resolve(n).head == "span" else "tsv") for n in TASKS):
        assert (tmp_path / "out" / name / f"test-sw.{ending}").is_file(), name
    table = xopt("eval", "--task", "xnli,panx", *common, "--max-drop", "-101", cwd=tmp_path)
    assert table.returncode == 1
    assert "xnli" in table.stdout
    assert "gate failed" in table.stdout
    assert "panx sw" in table.stdout.replace("\n", " ")
    assert "no mean of the nine" in table.stdout
    assert "not comparable with published" in table.stdout


def test_a_bundle_that_does_not_fit_is_listed(bundles: Bundles, tmp_path: Path) -> None:
    bundle = str(bundles("nli", "int8").folder)
    common = ("--data", "sample", "--languages", "sw", "--resamples", "20", "--no-record", "--json")
    done = xopt(
        "eval", "--task", "xnli,panx", "--bundle", f"panx={bundle}", "--bundle", f"xnli={bundle}",
        *common, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["tasks"]
    assert "mean" in first
    assert "needs 'tag'" in second["skipped"]
    for arguments, message in (
        (("--task", "panx", "--bundle", bundle), "is not TASK=PATH"),
        (("--task", "nli"), "Did you mean 'xnli'?"),
        (("--task", "panx,udpos", "--bundle", f"panx={bundle}", "--languages", "xx"), "None of"),
        (("--task", "xnli", "--bundle", f"xnli={bundle}", "--convention", "k=4"), "NAME=VALUE"),
    ):
        failed = xopt("eval", *arguments, "--data", "sample", cwd=tmp_path)
        assert failed.returncode == 2, failed.stdout
        assert message in failed.stderr.replace("\n", " ")


def reports(bundles: Bundles, task: str, name: str, **more: Any) -> dict[str, Any]:
    with Session(bundles(name)) as a, Session(bundles(name, "int8")) as b:
        return compare_bundles(
            make_task(task, {}), SAMPLE, a, b, languages=["sw", "th", "zh"], resamples=20, **more
        )


class Stopped(Exception):
    pass


def test_an_interrupted_run_goes_on(bundles: Bundles, tmp_path: Path) -> None:
    heard: list[tuple[str, str, float]] = []

    def stop(*told: Any) -> None:
        heard.append(told)
        if told[0] == "zh":
            raise Stopped

    with pytest.raises(Stopped):
        reports(bundles, "panx", "ner", partial=Partial(tmp_path), report=stop)
    assert len(list(tmp_path.glob("*.json"))) == 2
    heard.clear()
    partial = Partial(tmp_path)
    found = reports(bundles, "panx", "ner", partial=partial, report=lambda *t: heard.append(t))
    # The two that were finished are told once a side, as done.
    assert [told for told in heard if told[0] != "zh"] == [
        (code, side, 1.0) for code in ("sw", "th") for side in ("reference", "candidate")
    ]
    assert len(list(tmp_path.glob("*.json"))) == 3
    whole = reports(bundles, "panx", "ner")
    for key in ("languages", "mean", "worst", "data", "conventions"):
        assert found[key] == whole[key]
    for key in ("sentences", "tokens", "median_tokens"):
        assert found["throughput"][key] == whole["throughput"][key]
    # Another convention, or another bundle, is another result.
    other = Partial(tmp_path)
    reports(bundles, "udpos", "pos", partial=other)
    assert len(list(tmp_path.glob("*.json"))) == 6
    other.clear()
    partial.clear()
    assert not list(tmp_path.glob("*"))


def test_damaged_partial_results_are_measured_again(tmp_path: Path) -> None:
    partial = Partial(tmp_path)
    partial.put("a", {"x": 1})
    (tmp_path / "a.json").write_text("{")
    assert partial.get("a") is None
    assert Partial(tmp_path, enabled=False).get("a") is None


def test_submission_files_have_xtremes_form(bundles: Bundles, tmp_path: Path) -> None:
    for task, name in (("panx", "ner"), ("xnli", "nli"), ("tydiqa", "qa"), ("tatoeba", "encoder"),
                       ("bucc2018", "encoder")):  # fmt: skip
        reports(bundles, task, name, submission=tmp_path)
    rows = make_task("panx", {}).load(SAMPLE, "th")
    blocks = (tmp_path / "panx" / "test-th.tsv").read_text().strip("\n").split("\n\n")
    assert [len(block.split("\n")) for block in blocks] == [len(row["tokens"]) for row in rows]
    labels = (tmp_path / "xnli" / "test-sw.tsv").read_text().split("\n")[:-1]
    assert len(labels) == 24
    assert set(labels) <= {"contradiction", "entailment", "neutral"}
    answers = json.loads((tmp_path / "tydiqa" / "test-sw.json").read_text())
    contexts = {r["id"]: r["context"] for r in make_task("tydiqa", {}).load(SAMPLE, "sw")}
    assert set(answers) == set(contexts)
    assert all(answer in contexts[key] for key, answer in answers.items())
    found = [int(n) for n in (tmp_path / "tatoeba" / "test-zh.tsv").read_text().split()]
    task = make_task("tatoeba", {})
    examples = task.load(SAMPLE, "cmn")
    with Session(bundles("encoder", "int8")) as session:
        by_row = task.answer(session, examples, lambda share: None)
    order = sorted(range(len(examples)), key=lambda i: examples[i]["target_sentence"])
    assert found == [by_row[i] for i in order]
    for line in (tmp_path / "bucc2018" / "test-sw.tsv").read_text().splitlines():
        source, target = line.split("\t")
        assert source.startswith("sw-")
        assert target.startswith("en-")


def test_combined_reports_have_means_only_where_nothing_is_missing() -> None:
    mean = {"reference": 80.0, "candidate": 79.0, "difference": -1.0}
    entries = [{"task": name, "mean": mean} for name in TASKS]
    assert combine_reports(entries)["average"] == pytest.approx(mean)
    partly = combine_reports([*entries[:-1], {"task": "tatoeba", "skipped": "no bundle"}])
    assert partly["average"] is None
    assert partly["groups"]["retrieval"] is None
    assert partly["groups"]["qa"] == pytest.approx(mean)
