"""`xopt run`: a single logit is a probability of each pair, and a pair is never cut unasked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from xopt.artifacts import Bundle
from xopt.cli import run as command  # noqa: F401
from xopt.cli.app import app
from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.errors import InputError

Bundles = Callable[..., Bundle]
SECOND = "The station is beside the river."
CONTEXT = "The river runs past the old mill. " * 12 + "The bread is baked on Tuesday."


def answers(bundle: Path, *arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["run", str(bundle), *arguments, "--json"])
    assert done.exit_code == 0, repr(done.exception)
    found: list[dict[str, Any]] = json.loads(done.stdout)["answers"]
    return found


@pytest.mark.parametrize("family", ["xlm-roberta", "bert"])
def test_a_single_logit_differs_by_pair(
    family: str, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    import torch
    import transformers

    folder = make_checkpoint(family, "classify", labels=["LABEL_0"], seed=3)
    out = tmp_path / "bundle"
    build_bundle(BuildOptions(str(folder), "fp32", out=str(out)), record=False)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["Where is the station?", "Bread", "Kituo kiko wapi?"]
    found = answers(out, *texts, "--pair", SECOND)
    for text, answer in zip(texts, found, strict=True):
        with torch.inference_mode():
            logit = model(**tokenizer(text, SECOND, return_tensors="pt")).logits[0, 0]
        assert answer["probability"] == pytest.approx(float(torch.sigmoid(logit)), abs=1e-4)
        assert answer["logits"] == pytest.approx([float(logit)], abs=1e-4)
    assert len({answer["probability"] for answer in found}) == len(texts)


@pytest.mark.parametrize("name", ["qa", "nli"])
def test_a_pair_that_is_too_long_is_refused(bundles: Bundles, name: str) -> None:
    bundle = bundles(name).folder
    done = CliRunner().invoke(app, ["run", str(bundle), "Which day?", "--pair", CONTEXT])
    assert isinstance(done.exception, InputError)
    assert "Text 1 with its pair has" in done.exception.message
    [cut] = answers(bundle, "Which day?", "--pair", CONTEXT, "--truncate")
    assert cut["tokens"] == 128
    if name == "qa":
        assert "--windows" in done.exception.hint
        [read] = answers(bundle, "Which day?", "--pair", CONTEXT, "--windows")
        assert read["tokens"] > 128
        assert read["answer"] == CONTEXT[read["start"] : read["stop"]]


def test_labels_of_one_name_are_kept_apart(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    import transformers

    names = ["neutral", "neutral", "other", "neutral (1)"]
    folder = make_checkpoint("bert", "classify", labels=names, seed=4)
    out, written = tmp_path / "bundle", tmp_path / "found.parquet"
    build_bundle(BuildOptions(str(folder), "fp32", out=str(out)), record=False)
    [found] = answers(out, "Bread")
    pipe = transformers.pipeline("text-classification", str(folder), top_k=None)
    expected = {entry["score"]: entry["label"] for entry in pipe(["Bread"])[0]}
    assert found["label"] == expected[max(expected)]
    assert sorted(found["probabilities"].values()) == pytest.approx(sorted(expected), abs=1e-4)
    assert list(found["probabilities"]) == ["neutral (0)", "neutral (1) (1)", "other", names[3]]
    (tmp_path / "a.txt").write_text("Bread\n")
    invoked = CliRunner().invoke(
        app, ["run", str(out), "--input", str(tmp_path / "a.txt"), "--output", str(written)]
    )
    assert invoked.exit_code == 0, repr(invoked.exception)
    [row] = pyarrow.parquet.read_table(written).to_pylist()
    assert [name for name, _ in row["probabilities"]] == list(found["probabilities"])
