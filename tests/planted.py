"""A model with outliers in one language alone, in one place."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["plant"]

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
    weights["classifier.weight"][:, answer] = 0
    weights["classifier.weight"][:2, answer] = torch.tensor([3.0, -3.0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
