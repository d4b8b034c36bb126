"""An experiment's file, the cells it stands for, and the steps they share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from xopt.errors import DataError, InputError
from xopt.evaluate.data import open_source
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.conventions import make_task
from xopt.progress import Progress
from xopt.tune.options import TuneOptions
from xopt.tune.phases import TuneResult
from xopt.tune.sweep.cells import Plan, plan_sweep
from xopt.tune.sweep.experiment import CellOptions, Experiment, read_experiment
from xopt.tune.sweep.report import write_report
from xopt.tune.sweep.run import begin, held, pending_steps, run_here
from xopt.tune.sweep.steps import cell_path, first_examples, read_cell, write_json

BASE: Mapping[str, Any] = {"name": "t", "checkpoints": ["base/model"], "targets": ["panx"]}


def plan_of(**changes: Any) -> Plan:
    return plan_sweep(Experiment(**(BASE | changes)))


def steps_of(plan: Plan) -> list[str]:
    return [f"{step.kind} {step.name.rpartition('-')[0]}" for step in plan.steps]


def test_the_encoder_of_phase_2_is_tuned_once_for_all_its_targets() -> None:
    plan = plan_of(intermediates=["none", "mnli+squad"], targets=["panx", "udpos", "tatoeba"])
    assert len(plan.cells) == 2 * 3 * 2
    tunings = [step for step in plan.steps if step.kind == "tune"]
    assert [step.name.rpartition("-")[0] for step in tunings] == [
        "panx-from-none-s0", "mnli+squad-s0", "panx-from-mnli+squad-s0", "udpos-from-none-s0",
        "udpos-from-mnli+squad-s0",
    ]  # fmt: skip
    both = tunings[1]
    assert both.options["intermediate"] == ("mnli", "squad")
    assert [step.after for step in tunings[2::2]] == [both.fingerprint] * 2
    for step in plan.steps:
        if step.after is not None:
            assert plan.steps.index(plan.by_fingerprint[step.after]) < plan.steps.index(step)
    # Every measuring step fills both precisions.
    measured = [step for step in plan.steps if step.kind == "measure"]
    assert [len(plan.cells_of(step)) for step in measured] == [2] * 6


def test_a_seed_that_changes_nothing_is_not_measured_twice() -> None:
    plan = plan_of(intermediates=["none", "mnli"], targets=["tatoeba"], seeds=[0, 1])
    assert len(plan.cells) == 8
    assert len({cell.fingerprint for cell in plan.cells}) == 6
    assert [step.kind for step in plan.steps].count("measure") == 3


def test_what_cannot_be_is_left_out_with_its_reason() -> None:
    plan = plan_of(
        targets=["panx", "tatoeba"], precisions=["fp32", "int8"], engines=["cpu", "cuda"],
        student_layers=[0, 6], qat=[False, True],
    )  # fmt: skip
    assert len(plan.cells) == 3 * (4 + 1)
    assert sorted(plan.left_out) == [
        "fp32 on cuda: this engine does not have it",
        "tatoeba: it has no phase 3, so no distillation",
        "tatoeba: it has no phase 3, so no quantization-aware tuning",
    ]
    options = [step.options for step in plan.steps if step.kind == "tune"]
    chosen = [(o.get("student_layers"), o.get("qat")) for o in options]
    assert chosen == [(None, None), (None, True), (6, None), (6, True)]
    # The form of the first INT8 that is built, which is the default of `xopt tune`.
    assert not any("qat_target" in o or "cpu" in o for o in options)
    with pytest.raises(InputError, match="no cell that can be"):
        plan_of(precisions=["fp32"], engines=["cuda"])


def test_what_a_result_depends_on_is_in_its_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    rows = tmp_path / "x" / "train.jsonl"
    rows.write_text("{}\n")
    data = str(tmp_path)
    first = plan_of(data=data).cells[0].fingerprint
    assert plan_of(data=data).cells[0].fingerprint == first
    # Axes beside this cell's own place do not matter to it, nor do other tasks' settings.
    more = {"tune": {"udpos": {"lr": 0.1}}, "eval": conventions("udpos", split="validation")}
    wider = plan_of(data=data, precisions=["fp32"], targets=["panx", "udpos"], **more)
    assert wider.cells[0].fingerprint == first
    changed = [
        {"tune": {"panx": {"lr": 2e-5}}}, {"seeds": [1]}, {"checkpoints": ["other/model"]},
        {"build": {"calibration_tokens": 512}}, {"eval": CellOptions(limit=3)},
        {"eval": conventions("panx", split="validation")},
    ]  # fmt: skip
    others = [plan_of(data=data, **change).cells[0].fingerprint for change in changed]
    rows.write_text("{ }\n")
    others.append(plan_of(data=data).cells[0].fingerprint)
    assert len({first, *others}) == 1 + len(others)


def test_no_target_is_scored_on_rows_that_are_trained_on() -> None:
    aside = {"targets": ["xnli"], "intermediates": ["none", "xnli-validation"]}
    assert len(plan_of(**aside).cells) == 4
    with pytest.raises(InputError, match="XNLI/validation, whose English rows xnli-validation is"):
        plan_of(**aside, eval=conventions("xnli", split="validation"))
    with pytest.raises(InputError, match=r"PAN-X\.en/train, whose"):
        plan_of(eval=conventions("panx", split="train"))


@pytest.mark.parametrize("name", ["xnli", "tydiqa"])
def test_a_limit_cuts_each_language_of_a_file_that_holds_them_all(
    name: str, tmp_path: Path
) -> None:
    task = make_task(name, {})
    languages = ("english", "swahili")
    rows: list[dict[str, Any]] = [
        {
            "language": language[:2], "sentence1": str(n), "sentence2": "b",
            "gold_label": "neutral", "id": f"{language}-{n}", "question": str(n), "context": "a b",
            "answers": {"text": ["b"], "answer_start": [2]},
        }
        for language in languages for n in range(5)
    ]  # fmt: skip
    path = tmp_path / task.config / f"{task.split}.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = open_source(str(tmp_path), probe=task.probe())
    cut = first_examples(task, 3)
    assert cut.on(source).available(source) == ["en", "sw"]
    for code in ("en", "sw"):
        assert cut.load(source, code) == task.load(source, code)[:3]
        assert len(task.load(source, code)) == 5


def test_a_limit_leaves_every_task_what_it_is() -> None:
    for name in TASKS:
        task = make_task(name, {"split": "validation"})
        cut = first_examples(task, 3)
        assert isinstance(cut, type(task))
        assert (cut.name, cut.head, cut.conventions) == (name, task.head, task.conventions)


def test_a_report_says_nothing_of_the_machine(tmp_path: Path) -> None:
    for name in ("model", "rows"):
        (tmp_path / name).mkdir()
    places = {"checkpoints": [str(tmp_path / "model")], "data": str(tmp_path / "rows")}
    more: dict[str, Any] = {"tune": {"intermediate": {"mlm": str(tmp_path / "texts")}}}
    plan = plan_of(targets=["panx"], **places, **more)

    def tune(options: TuneOptions, progress: Progress | None) -> TuneResult:
        raise DataError(f"{options.data}/panx is damaged, so {options.out} is not there")

    outcome = run_here(plan, tmp_path / "out", tune=tune)
    document = write_report(plan, outcome, tmp_path / "out", "xopt sweep mine.toml")
    for written in (tmp_path / "out").glob("report.*"):
        assert str(tmp_path) not in written.read_text()
    assert document["experiment"]["checkpoints"] == ["model"]
    assert document["experiment"]["data"] == "rows"
    assert document["experiment"]["tune"]["intermediate"]["mlm"] == "texts"
    assert document["failures"][0]["message"].startswith("rows/panx is damaged, so out/tuned/")
    assert plan.experiment.data == str(tmp_path / "rows")


def test_a_second_sweep_in_a_folder_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with held(place), pytest.raises(InputError, match="Another xopt sweep"), held(place):
        pass
    with held(place):
        pass


def conventions(task: str, **asked: Any) -> CellOptions:
    return CellOptions(conventions={task: asked})


def test_settings_of_a_task_stand_above_those_of_its_phase() -> None:
    tune = {"intermediate": {"lr": 1e-5, "epochs": 2}, "mnli": {"epochs": 1}, "target": {"lr": 0.1}}
    plan = plan_of(intermediates=["mnli"], tune=tune)
    first, second = (dict(step.options) for step in plan.steps if step.kind == "tune")
    assert (first["lr"], first["epochs"]) == (1e-5, 1)
    assert (second["lr"], second.get("epochs")) == (0.1, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("targets = ['panx']", "checkpoints is missing"),
        ("checkpoints = ['a']", "targets is missing"),
        ("checkpoints = 'a'\ntargets = ['panx']", "it is a list"),
        ("nmae = 'x'", "there is no 'nmae'"),
        ("= 3", "no readable TOML"),
        ("{base}\ntargets = ['xnil']", "Unknown task 'xnil'"),
        ("{base}\nintermediates = ['mnl']", "Unknown training task 'mnl'"),
        ("{base}\nintermediates = ['none', 'none']", "twice"),
        ("{base}\nprecisions = ['int9']", "Unknown precision 'int9'"),
        ("{base}\nengines = ['gpu']", "Unknown"),
        ("{base}\nseeds = [-1]", "seeds cannot hold -1"),
        ("{base}\nseeds = []", "at least one value"),
        ("{base}\nqat = [1]", "qat cannot hold 1"),
        ("{base}\nname = 'a/b'", "has no slash"),
        ("{base}\n[tune.target]\nlrr = 1", "has no 'lrr'"),
        ("{base}\n[tune.target]\nlr = 'x'", "wrong type"),
        ("{base}\n[tune.target]\nseed = 1", "set by the sweep"),
        ("{base}\n[tune.target]\nlr = 7.0", "--lr"),
        ("{base}\n[tune.target]\nmlm = 'sample'", "mlm is data of phase 2"),
        ("{base}\n[tune.panx]\ntranslated = 'x'", "translated is data of phase 2"),
        ("{base}\n[tune.squad]\nlr = 1e-5", "no phase or task of this sweep"),
        ("{base}\n[build]\nranges = 'none'", "calibration method"),
        ("{base}\n[eval]\nlimit = 0", "limit is 0"),
        ("{base}\ntargets = ['bucc2018']\n[eval]\nlimit = 9", "limit cannot cut bucc2018"),
        ("{base}\n[eval]\nlimits = 1", "has no 'limits'"),
        ("{base}\n[eval.conventions.panx]\nsplti = 'x'", "no convention 'splti'"),
        ("{base}\n[eval.conventions.panx]\nsplit = 3", "wrong type"),
        ("{base}\n[eval.conventions]\npanx = 3", "not a section"),
        ("{base}\neval = 3", "not a section"),
        ("{base}\ndata = 3", "names a folder"),
        ("{base}\n[ray]\ncpus = 0", "at least one CPU"),
    ],
)
def test_a_wrong_file_is_told_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "e.toml"
    base = "checkpoints = ['a']" + ("" if "\ntargets" in text else "\ntargets = ['panx']")
    path.write_text(text.replace("{base}", base))
    with pytest.raises(InputError, match=message):
        read_experiment(path)


def test_folders_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "mine.toml"
    path.write_text("checkpoints = ['org/model']\ntargets = ['panx']\ndata = 'data'\n")
    found = read_experiment(path)
    assert found.name == "mine"
    assert found.data == str(tmp_path / "data")
    assert found.checkpoints == ("org/model",)
    assert read_experiment(path, data="hub").data == "hub"
    with pytest.raises(InputError, match="There is no data folder nowhere") as caught:
        read_experiment(path, data="nowhere")
    assert "--data sample" in caught.value.hint
    with pytest.raises(InputError, match="There is no file"):
        read_experiment(tmp_path / "none.toml")


def test_only_open_cells_ask_for_steps(tmp_path: Path) -> None:
    plan = plan_of(intermediates=["none", "mnli"])
    assert len(pending_steps(plan, tmp_path)) == 5
    for cell in plan.cells[2:]:
        write_json(cell_path(tmp_path, cell), {"fingerprint": cell.fingerprint})
    left = pending_steps(plan, tmp_path)
    assert [step.kind for step in left] == ["tune", "measure"]
    # A file that was damaged, or that is another cell's, is no finished cell.
    path = cell_path(tmp_path, plan.cells[3])
    path.write_text("{")
    assert read_cell(tmp_path, plan.cells[3]) is None
    write_json(path, {"fingerprint": "other"})
    assert read_cell(tmp_path, plan.cells[3]) is None


def test_what_a_killed_run_left_of_a_finished_step_is_removed(tmp_path: Path) -> None:
    plan = plan_of(intermediates=["none", "mnli"])
    measured = [step for step in plan.steps if step.kind == "measure"]
    left = [tmp_path / kind / s.name / "f" for kind in ("scratch", "bundles") for s in measured]
    for path in left:
        path.parent.mkdir(parents=True)
        path.touch()
    for cell in plan.cells_of(measured[0]):
        write_json(cell_path(tmp_path, cell), {"fingerprint": cell.fingerprint})
    kept = plan_of(intermediates=["none", "mnli"], keep_bundles=True)
    begin(kept, tmp_path)
    assert all(path.exists() for path in left)
    begin(plan, tmp_path)
    assert [path.exists() for path in left] == [False, True] * 2


def test_a_step_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    seen = []

    def tune(options: TuneOptions, progress: Progress | None) -> TuneResult:
        seen.append(options)
        if options.intermediate:
            raise DataError("mnli is damaged")
        raise ValueError("a bug")

    plan = plan_of(intermediates=["none", "mnli"], targets=["panx", "tatoeba"], data=str(tmp_path))
    outcome = run_here(plan, tmp_path / "out", tune=tune)
    assert [bool(options.intermediate) for options in seen] == [False, True]
    assert len(outcome.open) == 8
    # An error's hint stands in lines below its message.
    messages = [failure.message.splitlines()[0] for failure in outcome.failures]
    assert "ValueError: a bug" in messages
    assert "mnli is damaged" in messages
    # What rests on a failed step is passed over, however far behind it.
    assert len([message for message in messages if message.startswith("rests on")]) == 4
    lines = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    failed = [json.loads(line) for line in lines if "failed" in line]
    written = {line["message"].splitlines()[0] for line in failed}
    assert written >= {"ValueError: a bug", "mnli is damaged"}
