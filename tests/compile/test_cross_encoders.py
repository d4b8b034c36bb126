"""A cross-encoder's folder, by the files that its own library reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.compile.st_files import change, modules, pool, write

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder

Factory = Callable[..., Path]


def _pipelines(folder: Path) -> str:
    """Which function transformers' text-classification pipeline applies."""
    import numpy as np
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    with torch.inference_mode():
        logits = model(**tokenizer("Habari za asubuhi", return_tensors="pt")).logits[0]
    found = np.sort([entry["score"] for entry in pipe("Habari za asubuhi", top_k=None)])
    made = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "identity": logits}
    [name] = [n for n, v in made.items() if np.allclose(np.sort(v.numpy()), found, atol=1e-6)]
    return name


@pytest.mark.parametrize(
    ("count", "config", "sentence", "expected"),
    [
        (3, {}, None, "softmax"),
        (1, {}, None, "sigmoid"),
        (2, {"problem_type": "multi_label_classification"}, None, "sigmoid"),
        (1, {"problem_type": "regression"}, None, "identity"),
        (3, {"problem_type": "regression"}, None, "identity"),
        (1, {"sentence_transformers": {"activation_fn": "torch.nn.Identity"}}, None, "identity"),
        (1, {"sentence_transformers": {"version": "5"}}, None, "sigmoid"),
        (3, {"sentence_transformers": {"version": "5"}}, None, "identity"),
        (
            1,
            {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
            None,
            "identity",
        ),
        (1, {"sbert_ce_default_activation_function": "my.code.Act"}, None, "sigmoid"),
        (
            2,
            {"sentence_transformers": {"activation_fn": "torch.nn.LogSoftmax"}},
            None,
            "logsoftmax",
        ),
        (
            3,
            {},
            {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Tanh"},
            "tanh",
        ),
        (
            1,
            {"problem_type": "regression"},
            {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"},
            "sigmoid",
        ),
        (
            1,
            {"sentence_transformers": {"activation_fn": "torch.nn.Tanh"}},
            {"model_type": "CrossEncoder", "activation_fn": "my.code.Act"},
            "tanh",
        ),
    ],
)
def test_what_its_own_library_makes_of_logits(
    make_checkpoint: Factory,
    tmp_path: Path,
    count: int,
    config: dict[str, Any],
    sentence: dict[str, Any] | None,
    expected: str,
) -> None:
    labels = ["a", "b", "c"][:count]
    source = make_checkpoint("xlm-roberta", "classify", labels=labels)
    folder = Path(shutil.copytree(source, tmp_path / "classifier"))
    change(folder / "config.json", **config)
    if sentence is not None:
        write(folder / "config_sentence_transformers.json", sentence)
        modules(folder)
        write(folder / "sentence_bert_config.json", {"transformer_task": "sequence-classification"})
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.head.activation == expected
    assert checkpoint.head.manifest()["problem_type"] == config.get("problem_type")
    if checkpoint.library == "transformers":
        assert expected == _pipelines(folder)
    else:
        from sentence_transformers import CrossEncoder

        theirs = type(CrossEncoder(str(folder), device="cpu").activation_fn).__name__
        assert theirs.lower() == expected


def test_a_cross_encoders_own_file_counts_beside_modules_alone(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    from sentence_transformers import CrossEncoder

    source = make_checkpoint("xlm-roberta", "classify", labels=["a"])
    folder = Path(shutil.copytree(source, tmp_path / "classifier"))
    prompts = {"prompts": {"search": "search: "}, "default_prompt_name": "search"}
    activation = {"activation_fn": "torch.nn.modules.linear.Identity"}
    write(
        folder / "config_sentence_transformers.json",
        {"model_type": "CrossEncoder"} | activation | prompts,
    )
    for beside in (False, True):
        if beside:
            modules(folder)
            write(
                folder / "sentence_bert_config.json",
                {"transformer_task": "sequence-classification"},
            )
        theirs, ours = CrossEncoder(str(folder), device="cpu"), Checkpoint.open(folder)
        assert ours.head.activation == type(theirs.activation_fn).__name__.lower()
        assert ours.text.default_prompt == theirs.default_prompt_name
        assert ours.head.activation == ("identity" if beside else "sigmoid")


@pytest.mark.parametrize("names", [None, ["XLMRobertaModel"]])
@pytest.mark.parametrize("today", [True, False])
def test_a_cross_encoder_is_a_classifier_whatever_its_config_names(
    make_checkpoint: Factory, tmp_path: Path, names: list[str] | None, today: bool
) -> None:
    from sentence_transformers import CrossEncoder

    source = make_checkpoint("xlm-roberta", "classify", labels=["a"])
    folder = Path(shutil.copytree(source, tmp_path / "classifier"))
    change(folder / "config.json", architectures=names)
    if today:
        write(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
        modules(folder)
        write(folder / "sentence_bert_config.json", {"transformer_task": "sequence-classification"})
    else:
        change(folder / "config.json", sentence_transformers={"version": "5.1.0"})
    head = Checkpoint.open(folder).head
    assert (head.kind, head.activation) == ("classify", "sigmoid")
    theirs = CrossEncoder(str(folder), device="cpu")
    assert type(theirs.model).__name__ == "XLMRobertaForSequenceClassification"


def test_an_encoder_is_read_out_of_a_classifier_in_a_sentence_folder(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(make_checkpoint("bert", "tag"), tmp_path / "st"))
    pool(folder, pooling_mode="max")
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.head.kind == "embed"
    assert PackedEncoder.load(checkpoint).output_name == "embeddings"
