"""Weights that rounding could lose, in the form that TensorRT fuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.compile.lowered_tensorrt import answer, constants, lowered, ragged
from tests.rounding import (
    ATTENTION_TOO,
    calibrated_batch,
    distance,
    rounding_error,
)

from xopt.compile.build import BuildOptions, choose_lowering
from xopt.compile.lower import lower_graph
from xopt.compile.packed_encoder import PackedEncoder
from xopt.errors import UnsupportedError
from xopt.packing import Encoding, pack

Factory = Callable[..., Path]


def test_evenly_attended_tokens_are_not_rounded_away(make_checkpoint: Factory) -> None:
    """Against plain fp32. An encoder of long sentences gets fp16 attention, which INT8 would lose.

    Queries are 0, so every token attends to all alike; what each says differs by sentence.
    """
    folder = make_checkpoint(
        "xlm-roberta", "embed", max_position_embeddings=402, num_hidden_layers=1
    )
    path, tokens = folder / "model.safetensors", 300
    weights = load_file(path)
    for name in weights:
        if ".query." in name:
            weights[name] = torch.zeros_like(weights[name])
        if ".value.weight" in name or ".attention.output.dense.weight" in name:
            weights[name] = 3 * weights[name]
    save_file(weights, path, {"format": "pt"})
    checkpoint, graph, forced, ranges = lowered(folder, "int8")
    options = BuildOptions(str(folder), target="tensorrt-rtx")
    chosen = lower_graph(graph, choose_lowering(options, checkpoint), ranges, checkpoint=checkpoint)
    ids = np.random.default_rng(5).choice(np.arange(4, 40), tokens).astype(np.int32)
    batch = pack(
        [Encoding(ids, np.zeros(tokens, np.int32))], first_position=checkpoint.config.first_position
    )
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    errors = [distance(answer(str(form.path), batch), exact) for form in (chosen, forced)]
    assert errors[0] <= ATTENTION_TOO * rounding_error(checkpoint, batch, "int8")
    assert errors[1] > 3 * errors[0]


def test_the_means_of_keys_and_values_cost_nothing(make_checkpoint: Factory) -> None:
    """Large biases that cancel in fp32 leave the INT8 answer as it is, too."""
    folder = make_checkpoint("bert", "tag", seed=11)
    checkpoint, _, small, _ = lowered(folder, "int8", alpha=0.0)
    batch = ragged(checkpoint)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    before = answer(str(small.path), batch)

    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for number in range(2):
        layer = f"bert.encoder.layer.{number}.attention"
        key, value = 20 * torch.randn(2, 64, generator=generator)
        tensors[f"{layer}.self.key.bias"] += key
        tensors[f"{layer}.self.value.bias"] += value
        tensors[f"{layer}.output.dense.bias"] -= tensors[f"{layer}.output.dense.weight"] @ value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    checkpoint, _, moved, _ = lowered(folder, "int8", alpha=0.0)
    assert np.abs(PackedEncoder.load(checkpoint).run(batch).numpy() - exact).max() < 1e-4
    after = answer(str(moved.path), batch)
    # fp16 and fp32 round a little differently around another mean.
    assert np.abs(after - before).max() < np.abs(before - exact).max() / 2


def test_a_row_of_zeros_costs_the_others_nothing(make_checkpoint: Factory) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=9)
    tensors = load_file(folder / "model.safetensors")
    name = "roberta.encoder.layer.0.intermediate.dense.weight"
    tensors[name][3] = 0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    checkpoint, _, small, _ = lowered(folder, "int8")
    values = constants(small.path)
    assert values["layers.0.ffn_in.weight.ratio"][3] == 0
    assert values["layers.0.ffn_in.weight.ratio"].max() <= 1.01
    batch = calibrated_batch(checkpoint)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    close = answer(str(small.path), batch)
    assert distance(close, exact) <= ATTENTION_TOO * rounding_error(checkpoint, batch, "int8")


def test_an_embedding_row_of_zeros_costs_the_others_nothing(make_checkpoint: Factory) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=10)
    tensors = load_file(folder / "model.safetensors")
    table = tensors["roberta.embeddings.word_embeddings.weight"]
    table[7] = 0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _, _, small, _ = lowered(folder, "int8")
    values = constants(small.path)
    name = "embeddings.word.weight"
    step = float(values[name + ".scale"])
    assert step == pytest.approx(float(table.abs().max()) / 127, rel=1e-3)
    ratio = values[name + ".ratio"]
    assert ratio[7] == 0
    restored = values[name + ".int8"] * step * ratio.astype(np.float64)
    # Half a step of each row, and what fp16 makes of its ratio.
    bound = np.abs(table.numpy()).max(axis=1, keepdims=True) * (0.5 / 127 + 2**-10)
    assert (np.abs(restored - table.numpy()) <= bound).all()


def test_a_weight_beyond_fp16_is_refused(make_checkpoint: Factory) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=11)
    tensors: dict[str, Any] = load_file(folder / "model.safetensors")
    tensors["roberta.embeddings.position_embeddings.weight"][70, 5] = 1e5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedError, match="beyond the range of fp16"):
        lowered(folder, "fp16")
