"""Several tasks at once, submission files, and runs that go on where they stopped."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.cells import cells

from xopt.artifacts import Bundle
from xopt.cli import main
from xopt.evaluate.data import SAMPLE as DATA
from xopt.evaluate.data import open_source
from xopt.evaluate.resume import Partial
from xopt.evaluate.retention import compare_sessions
from xopt.evaluate.suite import retention_gate, split_languages
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.conventions import make_task
from xopt.model.session import Session

Bundles = Callable[..., Bundle]
SAMPLE = open_source("sample", probe=("", ""))
# Task -> the checkpoint that fits it.
FITS = {
    "xnli": "nli", "pawsx": "pair", "udpos": "pos", "panx": "ner", "xquad": "qa", "mlqa": "qa",
    "tydiqa": "qa", "bucc2018": "encoder", "tatoeba": "encoder",
}  # fmt: skip


def xopt(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """In this process: one of its own would import PyTorch each time."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["xopt", *arguments])
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as ended:
            main()
    out, errors = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out, errors)


def test_all_tasks_in_one_table_and_one_document(bundles: Bundles, tmp_path: Path) -> None:
    # By name: what other tests built last may be for a GPU.
    chosen = {task: ["--bundle", f"{task}={bundles(n, 'int8').folder}"] for task, n in FITS.items()}
    every = [word for words in chosen.values() for word in words]
    common = ("--data", "sample", "--languages", "sw", "--resamples", "50", "--no-record")
    done = xopt(
        "eval", "--task", "all", *common, *every, "--json", "--submission", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [entry["task"] for entry in found["tasks"]] == list(TASKS)
    assert not [entry for entry in found["tasks"] if "skipped" in entry]
    assert set(found["groups"]) == {"classification", "tagging", "qa", "retrieval"}
    means = [entry["mean"]["reference"] for entry in found["tasks"]]
    assert found["average"]["reference"] == pytest.approx(sum(means) / 9)
    for name, ending in ((n, "json" if TASKS.resolve(n).head == "span" else "tsv") for n in TASKS):
        assert (tmp_path / "out" / name / f"test-sw.{ending}").is_file(), name
    # A bundle that cannot tag.
    two = [*chosen["xnli"], "--bundle", f"panx={bundles('nli', 'int8').folder}"]
    table = xopt("eval", "--task", "xnli,panx", *common, *two, "--max-drop", "100", cwd=tmp_path)
    assert table.returncode == 1
    assert "xnli" in table.stdout
    assert "gate failed" in table.stdout
    assert "panx (not scored)" in table.stdout.replace("\n", " ")
    assert "no mean of the nine" in table.stdout
    assert "not comparable with XTREME's scores" in table.stdout


def test_the_gate_names_what_fell_further() -> None:
    languages = {code: {"difference": lost} for code, lost in (("sw", -1.5), ("de", -1), ("ar", 2))}
    entries: list[dict[str, Any]] = [
        {"task": "xnli", "languages": languages},
        {"task": "panx", "skipped": "needs 'tag'"},
        {"task": "mlqa", "skipped": "no sw", "absent": True},
    ]
    assert retention_gate(entries, None) is None
    assert retention_gate(entries, 1.0) == {
        "max_drop": 1.0, "passed": False, "failed": ["xnli sw", "panx (not scored)"],
    }  # fmt: skip
    assert retention_gate(entries[:1], 0.0) == {
        "max_drop": 0.0, "passed": False, "failed": ["sw", "de"],
    }  # fmt: skip
    assert retention_gate(entries[:1], 1.5) == {"max_drop": 1.5, "passed": True, "failed": []}
    # As two accuracies of 1,000 rows differ: 0.30000000000001137 points are 3 rows, and no more.
    three = [{"task": "xnli", "languages": {"sw": {"difference": 86.6 - 86.9}}}]
    assert retention_gate(three, 0.3) == {"max_drop": 0.3, "passed": True, "failed": []}
    assert retention_gate(three, 0.299) == {"max_drop": 0.299, "passed": False, "failed": ["sw"]}
    none = [{"task": "xnli", "languages": {"sw": {"difference": float("nan")}}}]
    assert retention_gate(none, 1.5) == {"max_drop": 1.5, "passed": False, "failed": ["sw"]}


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
        (("--task", "panx,udpos", "--bundle", f"panx={bundle}", "--languages", "xx"), "Unknown"),
        (("--task", "xnli", "--bundle", f"xnli={bundle}", "--convention", "k=4"), "NAME=VALUE"),
    ):
        failed = xopt("eval", *arguments, "--data", "sample", cwd=tmp_path)
        assert failed.returncode == 2, failed.stdout
        assert message in failed.stderr.replace("\n", " ")


def reports(bundles: Bundles, task: str, name: str, **more: Any) -> dict[str, Any]:
    with Session.open(bundles(name)) as a, Session.open(bundles(name, "int8")) as b:
        return compare_sessions(
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
    assert partial.get("a") == {"x": 1}
    whole = (tmp_path / "a.json").read_text()
    for text in ("{", "[]", "1", '{"x": 1}', whole.replace('"x": 1', '"x": 2')):
        (tmp_path / "a.json").write_text(text)
        assert partial.get("a") is None, text
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
    with Session.open(bundles("encoder", "int8")) as session:
        by_row = task.answer(session, examples, lambda share: None)
    order = sorted(range(len(examples)), key=lambda i: examples[i]["target_sentence"])
    assert found == [by_row[i][1] for i in order]
    for line in (tmp_path / "bucc2018" / "test-sw.tsv").read_text().splitlines():
        source, target = line.split("\t")
        assert source.startswith("sw-")
        assert target.startswith("en-")


def test_languages_are_split_in_either_spelling() -> None:
    assert split_languages(["deu", "sw", "fr"], ["de", "swh"]) == (["deu", "sw"], ["fr"])


def test_each_of_several_tasks_takes_the_languages_it_has(bundles: Bundles, tmp_path: Path) -> None:
    chosen = [w for t, n in (("xnli", "nli"), ("pawsx", "pair"), ("panx", "ner"))
              for w in ("--bundle", f"{t}={bundles(n, 'int8').folder}")]  # fmt: skip
    for config in ("XNLI", "PAWS-X.de", "PAN-X.th"):
        shutil.copytree(DATA / config, tmp_path / "data" / config)
    common = ("--data", "data", "--resamples", "10", "--no-record", *chosen)
    asked = ("eval", "--task", "xnli,pawsx,panx", *common, "--languages")
    done = xopt(*asked, "deu,sw", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cells(done.stdout.splitlines(), "xnli")[2] == "2"
    assert cells(done.stdout.splitlines(), "pawsx")[2] == "1"
    assert "pawsx: without sw, which its data lacks" in done.stdout
    assert "panx: not scored." in done.stdout
    assert "in none of deu, sw" in done.stdout
    gate = xopt(*asked, "deu,sw", "--max-drop", "101", "--json", cwd=tmp_path)
    assert gate.returncode == 0
    found = json.loads(gate.stdout)
    assert found["gate"] == {"max_drop": 101.0, "passed": True, "failed": []}
    assert list(found["tasks"][1]["languages"]) == ["de"]
    assert found["tasks"][1]["left_out"] == ["sw"]
    # No task has it; and one task alone must have what is asked.
    unknown = xopt(*asked, "de,fr", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "There is no French (fr) for any of these tasks" in unknown.stderr
    alone = xopt("eval", "--task", "pawsx", *common, "--languages", "de,sw", cwd=tmp_path)
    assert alone.returncode == 2
    assert "There is no Swahili (sw) for pawsx" in alone.stderr


def test_a_broken_row_stops_its_own_task_only(bundles: Bundles, tmp_path: Path) -> None:
    chosen = [w for t, n in (("xnli", "nli"), ("pawsx", "pair"))
              for w in ("--bundle", f"{t}={bundles(n, 'int8').folder}")]  # fmt: skip
    for config in ("XNLI", "PAWS-X.de"):
        shutil.copytree(DATA / config, tmp_path / "data" / config)
    [file] = (tmp_path / "data" / "PAWS-X.de").glob("*.jsonl")
    row = json.loads(file.read_text().splitlines()[0]) | {"label": "seven"}
    file.write_text(json.dumps(row) + "\n")
    common = ("--data", "data", "--languages", "de", "--resamples", "10", "--no-record", *chosen)
    done = xopt(
        "eval", "--task", "xnli,pawsx", *common, "--max-drop", "101", "--json", cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["tasks"][0]["languages"]["de"]["n"] > 0
    assert "row 1: the label 'seven'" in found["tasks"][1]["skipped"]
    assert found["gate"]["failed"] == ["pawsx (not scored)"]


def test_an_unreadable_bundle_stops_its_own_task_only(bundles: Bundles, tmp_path: Path) -> None:
    changed, older = tmp_path / "changed", tmp_path / "older"
    shutil.copytree(bundles("ner", "int8").folder, changed)
    shutil.copytree(bundles("pos", "int8").folder, older)
    for folder, edit in ((changed, {"precision": "fp16"}), (older, {"checksum": None})):
        manifest = json.loads((folder / "manifest.json").read_text()) | edit
        kept = {key: value for key, value in manifest.items() if value is not None}
        (folder / "manifest.json").write_text(json.dumps(kept))
    done = xopt(
        "eval", "--task", "xnli,panx,udpos", "--bundle", f"xnli={bundles('nli', 'int8').folder}",
        "--bundle", f"panx={changed}", "--bundle", f"udpos={older}", "--data", "sample",
        "--languages", "sw", "--resamples", "10", "--no-record", "--max-drop", "101", cwd=tmp_path,
    )  # fmt: skip
    text = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stderr
    assert cells(done.stdout.splitlines(), "xnli")[2] == "1"
    assert "panx: not scored." in text
    assert "manifest.json was changed" in text
    assert "must be built again" in text
    assert "gate failed at 101.0 points: panx (not scored), udpos (not scored)" in text
