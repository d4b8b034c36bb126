"""A model with outliers in one language alone: who calibrates without it loses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import xopt
from xopt.calibrate.corpus import DEFAULT
from xopt.compile.build import BuildOptions, build_bundle
from xopt.evaluate.data import SAMPLE

# In UTF-8 no letter but a Greek one begins with these bytes; so a byte-level tokenizer writes them.
GREEK = ("Î", "Ï")


def plant(folder: Path) -> None:
    """Two neurons that only Greek tokens drive, far beyond the others, and that decide its labels.

    Of every Greek token one channel is high and another low, by its number. Each drives a neuron
    of the last layer, and the larger one gives the label. Nothing else writes these channels.
    """
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    greek = [number for token, number in vocabulary.items() if any(c in token for c in GREEK)]
    assert len(greek) > 20
    first, second, answer = 32, 33, 34
    words = weights["roberta.embeddings.word_embeddings.weight"]
    words[:, first : answer + 1] = 0
    for number in greek:
        words[number, first], words[number, second] = (3, 1.5) if number % 2 else (1.5, 3)
    for name, value in weights.items():
        if name.endswith(("position_embeddings.weight", "token_type_embeddings.weight")):
            value[:, first : answer + 1] = 0
        if name.endswith(("attention.output.dense.weight", "attention.output.dense.bias")):
            value[first : answer + 1] = 0
        if name.endswith(("output.dense.weight", "output.dense.bias")):
            value[first : answer + 1] = 0
    layer = "roberta.encoder.layer.1"
    for neuron, channel in enumerate((first, second)):
        weights[f"{layer}.intermediate.dense.weight"][neuron] = 0
        weights[f"{layer}.intermediate.dense.weight"][neuron, channel] = 20
        weights[f"{layer}.intermediate.dense.bias"][neuron] = -6
        weights[f"{layer}.output.dense.weight"][:, neuron] = 0
        weights[f"{layer}.output.dense.weight"][answer, neuron] = (1, -1)[neuron]
    weights["classifier.weight"][:, answer] = torch.tensor([3.0, -3.0, 0.0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def labels(bundle: Path, sentences: list[list[str]]) -> np.ndarray:
    """Of every word with a letter: full stops are of no language."""
    with xopt.load(bundle) as model:
        found = [pair for tags in model.tag(sentences) for pair in tags]
    return np.array([label for word, label in found if any(c.isalpha() for c in word)])


def test_a_language_that_did_not_calibrate_is_lost_and_the_default_keeps_it(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint("xlm-roberta", "tag")
    plant(checkpoint)
    english = tmp_path / "en.txt"
    english.write_bytes((DEFAULT / "en.txt").read_bytes())

    def build(name: str, **changes: str) -> Path:
        options = BuildOptions(str(checkpoint), out=str(tmp_path / name), **changes)  # type: ignore[arg-type]
        build_bundle(options, record=False)
        return tmp_path / name

    exact, default = build("exact", precision="fp32"), build("default")
    narrow = build("narrow", calibration=str(english), ranges="minmax")
    lost = {}
    for language in ("Greek", "English"):
        file = SAMPLE / f"udpos.{language}" / "test.jsonl"
        rows = filter(None, file.read_text(encoding="utf-8").split("\n"))
        sentences = [json.loads(row)["tokens"] for row in rows]
        given = labels(exact, sentences)
        lost[language] = [
            100 * float(np.mean(labels(bundle, sentences) != given)) for bundle in (default, narrow)
        ]
    assert lost["Greek"][0] <= 1
    assert lost["Greek"][1] >= 10
    assert max(lost["English"]) <= 2
