"""Each task and each head trains; the result loads, compiles and carries its provenance."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file
from tests.tune.losses import fall

from xopt.calibrate.corpus import load_corpus
from xopt.card import training_lines
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.errors import InputError
from xopt.tokenization import Tokenizer
from xopt.tune import phases, stage
from xopt.tune.options import TuneOptions
from xopt.tune.phases import TuneResult, tune_checkpoint
from xopt.tune.tasks import INTERMEDIATE, TASKS

AUTO = {
    "classify": transformers.AutoModelForSequenceClassification,
    "tag": transformers.AutoModelForTokenClassification,
    "span": transformers.AutoModelForQuestionAnswering,
    "choice": transformers.AutoModelForMultipleChoice,
}
COMPILED = {"classify": "classify", "tag": "tag", "span": "span", "choice": "classify"}
FAST: dict[str, Any] = {"lr": 3e-3, "batch": 16, "max_tokens": 48, "evaluate_every": 20}


def weights_digest(result: TuneResult) -> str:
    return hashlib.sha256((result.folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", INTERMEDIATE)
def test_each_intermediate_task_is_learnt(
    name: str, make_checkpoint: Any, toy_data: Any, tmp_path: Path
) -> None:
    data = toy_data(name)
    options = TuneOptions(
        str(make_checkpoint("xlm-roberta")), target=name, data=str(data), max_steps=40,
        out=str(tmp_path / "tuned"), **FAST,
    )  # fmt: skip
    result = tune_checkpoint(options)
    losses = [loss for _, loss in result.report["result"]["losses"]]
    assert fall(losses)
    model = AUTO[TASKS[name].head].from_pretrained(result.folder)
    assert type(model).__name__.startswith("XLMRobertaFor")
    scores = [entry["score"] for _, entry in result.report["result"]["scores"]]
    assert dict(result.report["result"]["scores"])[result.report["result"]["best_step"]][
        "score"
    ] == max(scores)


@pytest.mark.parametrize(
    ("architecture", "target"),
    [("bert", "xnli"), ("roberta", "panx"), ("xlm-roberta", "tydiqa"), ("camembert", "cosmosqa")],
)
def test_a_target_starts_from_the_intermediate_encoder_and_compiles(
    architecture: str, target: str, make_checkpoint: Any, toy_data: Any, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(architecture)
    data = toy_data(target, "hellaswag", train=32, dev=8)
    options = TuneOptions(
        str(checkpoint), intermediate=("hellaswag",), target=target, data=str(data), max_steps=2,
        out=str(tmp_path / "tuned"), **FAST,
    )  # fmt: skip
    result = tune_checkpoint(options)
    before = result.report["parent"]["training"]
    assert before["phase"] == "intermediate"
    assert before["tasks"] == ["hellaswag"]
    assert before["parent"]["training"] is None
    loaded = AUTO[TASKS[target].head].from_pretrained(result.folder)
    assert loaded.config.model_type == architecture
    bundle = build_bundle(
        BuildOptions(str(result.folder), precision="fp32", out=str(tmp_path / "bundle"))
    ).bundle
    assert bundle.head["kind"] == COMPILED[TASKS[target].head]
    training = bundle.manifest["provenance"]["training"]
    assert training["fingerprint"] == result.report["fingerprint"]
    assert "hellaswag" in (bundle.folder / "card.md").read_text()
    # Whatever was taken out of the file, a card can be written.
    assert len(training_lines(training)) == 3
    for key in ("phase", "data", "result", "recipe", "parent"):
        [line, *_] = training_lines({k: v for k, v in training.items() if k != key})
        assert line == "tuned, but training.json does not say how"
        assert training_lines(training | {key: 3})[0] == line


def test_targets_share_one_intermediate_encoder_and_a_second_run_trains_nothing(
    make_checkpoint: Any, toy_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    run = phases.run_stage

    def spy(stage: Any, *rest: Any) -> Any:
        trained.append(stage.title)
        return run(stage, *rest)

    monkeypatch.setattr(phases, "run_stage", spy)
    data = str(toy_data("mnli", "squad", "panx", "udpos", train=32, dev=8))
    common: dict[str, Any] = {
        "checkpoint": str(make_checkpoint(seed=3)), "intermediate": ("squad", "mnli"),
        "data": data, "max_steps": 4,
    } | FAST  # fmt: skip
    first = tune_checkpoint(TuneOptions(target="panx", **common))
    second = tune_checkpoint(TuneOptions(target="udpos", **common))
    assert trained == ["phase 2: squad, mnli", "phase 3: panx", "phase 3: udpos"]
    assert not first.cached
    again = tune_checkpoint(TuneOptions(target="panx", **common))
    encoder = tune_checkpoint(TuneOptions(**common))
    assert len(trained) == 3
    assert again.cached
    assert encoder.cached
    assert again.folder == first.folder
    assert first.report["parent"] == second.report["parent"]
    assert encoder.report["fingerprint"] == first.report["parent"]["fingerprint"]
    loaded = transformers.AutoModel.from_pretrained(encoder.folder)
    assert type(loaded).__name__ == "XLMRobertaModel"
    assert Checkpoint.open(encoder.folder).head.kind == "embed"


def test_another_seed_is_another_result(make_checkpoint: Any, toy_data: Any) -> None:
    checkpoint, data = str(make_checkpoint()), str(toy_data("mnli", train=32, dev=8))
    found = {
        weights_digest(
            tune_checkpoint(
                TuneOptions(checkpoint, target="mnli", data=data, max_steps=2, seed=seed, **FAST)
            )
        )
        for seed in (0, 1)
    }
    assert len(found) == 2


def test_the_sample_of_the_quantizers_is_in_the_fingerprint(
    make_checkpoint: Any, toy_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def stop(stage: Any, *_: Any) -> Any:
        trained.append(stage.kind)
        raise InputError("trained")

    options = TuneOptions(
        str(make_checkpoint()), target="panx", data=str(toy_data("panx", train=24, dev=8)),
        max_steps=1, qat=True, **FAST,
    )  # fmt: skip
    report = tune_checkpoint(options).report
    assert report["recipe"]["calibration"]["fingerprint"] == load_corpus().fingerprint
    assert "calibration" not in report["parent"]["training"]["recipe"]
    monkeypatch.setattr(phases, "run_stage", stop)
    assert tune_checkpoint(options).cached
    facts = report["recipe"]["calibration"] | {"seed": 1}
    monkeypatch.setattr(phases, "calibration_facts", lambda *_: facts)
    with pytest.raises(InputError, match="trained"):
        tune_checkpoint(options)
    assert trained == ["qat"]


@pytest.mark.parametrize("frozen", [False, True])
def test_only_rows_of_seen_tokens_move(frozen: bool, make_checkpoint: Any, toy_data: Any) -> None:
    checkpoint, data = make_checkpoint(), toy_data("mnli", train=32, dev=8)
    options = TuneOptions(
        str(checkpoint), target="mnli", data=str(data), max_steps=3, freeze_embeddings=frozen,
        **FAST,
    )  # fmt: skip
    result = tune_checkpoint(options)
    before = load_file(checkpoint / "model.safetensors")["embeddings.word_embeddings.weight"]
    after = load_file(result.folder / "model.safetensors")[
        "roberta.embeddings.word_embeddings.weight"
    ]
    tokenizer = Tokenizer.open(checkpoint / "tokenizer.json", 128)
    seen: set[int] = set()
    for split in ("train", "validation"):
        for line in (data / "mnli" / f"{split}.jsonl").read_text().splitlines():
            row = json.loads(line)
            [encoding] = tokenizer.encode([row["premise"]], [row["hypothesis"]])
            seen |= set(encoding.ids.tolist())
    moved = set(np.flatnonzero((before != after).any(axis=1)).tolist())
    assert after.shape == before.shape
    assert moved <= seen
    assert bool(moved) != frozen
    assert result.report["tuned_embedding_rows"] < len(before)


def test_a_cut_table_trains_as_the_whole_one_does(
    make_checkpoint: Any, toy_data: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, rows = [], []
    checkpoint, data = str(make_checkpoint()), str(toy_data("mnli", train=32, dev=8))
    for whole in (False, True):
        monkeypatch.setenv("XOPT_CACHE", str(tmp_path / str(whole)))
        if whole:
            monkeypatch.setattr(stage, "cut_table", lambda *_: None)
        options = TuneOptions(checkpoint, target="mnli", data=data, max_steps=4, **FAST)
        result = tune_checkpoint(options)
        rows.append(result.report["tuned_embedding_rows"])
        found.append(load_file(result.folder / "model.safetensors"))
    assert rows[0] < rows[1] == 1200
    for name, values in found[0].items():
        assert np.array_equal(values, found[1][name]), name


def test_a_phase_stops_when_the_english_score_no_longer_rises(
    make_checkpoint: Any, toy_data: Any
) -> None:
    options = TuneOptions(
        str(make_checkpoint()), target="mnli", data=str(toy_data("mnli", train=32, dev=8)),
        max_steps=40, patience=2, **FAST | {"evaluate_every": 2, "lr": 1e-9},
    )  # fmt: skip
    result = tune_checkpoint(options).report["result"]
    assert result["steps"] == 6
    assert result["best_step"] == 2


def test_gradient_accumulation_takes_the_same_examples(make_checkpoint: Any, toy_data: Any) -> None:
    options = TuneOptions(
        str(make_checkpoint()), target="panx", data=str(toy_data("panx", train=32, dev=8)),
        epochs=1, gradient_accumulation=4, **FAST,
    )  # fmt: skip
    report = tune_checkpoint(options).report
    assert report["result"]["steps"] == 2
    assert report["batches"] == {"panx": 8}


@pytest.mark.parametrize(
    ("change", "layers", "form"),
    [
        ({"student_layers": 1}, 1, None),
        ({"qat": True, "cpu": "any"}, 2, "cpu-any"),
        ({"qat": True, "qat_target": "tensorrt-rtx"}, 2, "tensorrt-attention"),
    ],
)
def test_the_result_is_distilled_or_trained_on_with_fake_quantizers(
    change: dict[str, Any],
    layers: int,
    form: str | None,
    make_checkpoint: Any,
    toy_data: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    common: dict[str, Any] = {
        "checkpoint": str(make_checkpoint()), "target": "panx",
        "data": str(toy_data("panx", train=32, dev=8)), "max_steps": 4,
    } | FAST  # fmt: skip
    plain = tune_checkpoint(TuneOptions(**common))
    result = tune_checkpoint(TuneOptions(out=str(tmp_path / "tuned"), **common, **change))
    assert result.report["parent"]["fingerprint"] == plain.report["fingerprint"]
    assert weights_digest(result) != weights_digest(plain)
    names = set(load_file(result.folder / "model.safetensors"))
    assert names <= set(load_file(plain.folder / "model.safetensors"))
    assert result.report["recipe"].get("form") == form
    bundle = build_bundle(
        BuildOptions(str(result.folder), cpu="any", out=str(tmp_path / "b"))
    ).bundle
    assert (form or "") in (bundle.folder / "card.md").read_text()
    told = [record for record in caplog.records if "Quantization-aware" in record.getMessage()]
    assert len(told) == (form == "tensorrt-attention")
    assert bundle.manifest["shape"]["layers"] == layers
    assert bundle.manifest["provenance"]["training"]["phase"] in ("student", "qat")
