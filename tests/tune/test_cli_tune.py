"""``xopt tune`` as typed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xopt.cli import app, tune  # noqa: F401
from xopt.errors import InputError
from xopt.tune.options import TuneOptions
from xopt.tune.phases import tune_checkpoint

RUN = CliRunner()


def typed(checkpoint: Path, data: Path, *more: str) -> list[str]:
    return [
        "tune", str(checkpoint), "--data", str(data), "--max-steps", "2", "--batch", "8",
        "--max-tokens", "48", *more,
    ]  # fmt: skip


def test_both_phases_and_the_document(make_checkpoint: Any, toy_data: Any, tmp_path: Path) -> None:
    checkpoint, data = make_checkpoint(), toy_data("mnli", "squad", "panx", train=24, dev=8)
    command = typed(
        checkpoint, data, "--intermediate", "mnli,squad", "--target", "panx",
        "--sampling", "uniform", "-o", str(tmp_path / "tuned"), "--json",
    )  # fmt: skip
    found = RUN.invoke(app, command)
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert Path(document["folder"]) == tmp_path / "tuned"
    stored = json.loads((tmp_path / "tuned" / "training.json").read_text())
    assert stored == document["training"]
    assert stored["options"]["data"] == data.name
    assert stored["options"]["checkpoint"] == checkpoint.name
    assert stored["options"]["out"] == "tuned"
    assert not [line for line in json.dumps(stored, indent=1).splitlines() if '"/' in line]
    before = stored["parent"]["training"]
    assert before["recipe"]["probabilities"] == {"mnli": 0.5, "squad": 0.5}
    for name in ("seed", "lr", "steps", "batch", "max_tokens", "warmup"):
        assert name in stored["recipe"]
    assert {"torch", "transformers", "accelerate"} <= set(stored["tools"])
    assert (tmp_path / "tuned" / "loss.png").read_bytes()[:4] == b"\x89PNG"
    again = RUN.invoke(app, command)
    assert json.loads(again.stdout)["cached"]
    shown = RUN.invoke(app, command[:-1])
    assert "already tuned" in shown.output
    assert "xopt build" in shown.output


def test_options_come_from_the_file_below_the_command_line(
    make_checkpoint: Any, toy_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("xopt.toml").write_text('[tune]\nintermediate = ["mnli"]\nlr = 0.001\nseed = 5\n')
    data = toy_data("mnli", train=24, dev=8)
    found = RUN.invoke(app, typed(make_checkpoint(), data, "--seed", "7", "--json"))
    assert found.exit_code == 0, found.output
    recipe = json.loads(found.stdout)["training"]["recipe"]
    assert (recipe["lr"], recipe["seed"]) == (0.001, 7)


def test_what_xopt_did_not_make_is_left_alone(
    make_checkpoint: Any, toy_data: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    options = TuneOptions(
        str(make_checkpoint()), target="mnli", data=str(toy_data("mnli", train=24, dev=8)),
        max_steps=1, batch=8, max_tokens=48, out=str(tmp_path / "mine"),
    )  # fmt: skip
    with pytest.raises(Exception, match="not something xopt made"):
        tune_checkpoint(options)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_masked_texts_are_mixed_in(
    make_checkpoint: Any, toy_data: Any, tokenizer_file: Path
) -> None:
    checkpoint = make_checkpoint("xlm-roberta", vocab_size=1201)
    document = json.loads(tokenizer_file.read_text())
    mask = dict(document["added_tokens"][0]) | {"id": 1200, "content": "<mask>"}
    document["added_tokens"].append(mask)
    (checkpoint / "tokenizer.json").write_text(json.dumps(document))
    options: dict[str, Any] = {
        "checkpoint": str(checkpoint), "intermediate": ("mnli",), "mlm": "sample",
        "data": str(toy_data("mnli", train=24, dev=8)), "max_steps": 30, "mlm_share": 0.4,
        "batch": 8, "max_tokens": 48,
    }  # fmt: skip
    report = tune_checkpoint(TuneOptions(**options)).report
    assert report["batches"]["mlm"] + report["batches"]["mnli"] == 30
    assert 4 <= report["batches"]["mlm"] <= 20
    assert report["masked_texts"]["fingerprint"]
    assert report["tuned_embedding_rows"] == 1201
    assert report["recipe"]["lr"] == 5e-6
    plain = tune_checkpoint(TuneOptions(**options | {"mlm": None})).report
    assert plain["recipe"]["lr"] == 1e-5
    assert plain["fingerprint"] != report["fingerprint"]


def test_mixed_precision_trains_another_result(make_checkpoint: Any, toy_data: Any) -> None:
    checkpoint, data = str(make_checkpoint()), str(toy_data("mnli", train=24, dev=8))
    losses = []
    for precision in ("fp32", "bf16"):
        options = TuneOptions(
            checkpoint, target="mnli", data=data, max_steps=2, batch=8, max_tokens=48,
            precision=precision,  # type: ignore[arg-type]
        )  # fmt: skip
        losses.append(tune_checkpoint(options).report["result"]["losses"][0][1])
    assert losses[0] != losses[1]
    # A loss moves by at most twice what its logits move by. bf16 rounds by 2**-9 of a value at
    # most, in about 8 places of 2 layers, whose errors add in squares; these logits are below 1.
    assert abs(losses[0] - losses[1]) < 2 * (2 * 8) ** 0.5 * 2**-9


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "pamx"], "Did you mean 'panx'"),
        (["--target", "tatoeba"], "encoder as phase 2 leaves it"),
        (["--intermediate", "mnli", "--target", "panx", "--data", "absent"], "no data folder"),
        (["--target", "hellaswag"], "has no hellaswag"),
    ],
)
def test_bad_input_is_named(
    more: list[str], message: str, make_checkpoint: Any, toy_data: Any
) -> None:
    command = typed(make_checkpoint(), toy_data("panx", train=8, dev=4), *more)
    found = RUN.invoke(app, command)
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)
