"""Each form of INT8: its simulation answers as the recipe says, trains, and is taken out again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx.reference import ReferenceEvaluator
from tests.engines.cuda.definition import by_definition
from tests.rounding import calibrated_batch
from tests.tune.qat_forms import (
    FP32_SHARE,
    folders,
    load,
    lowered,
    options_of,
)

from xopt.compile.packed_encoder import PackedEncoder
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.packing import PackedBatch
from xopt.tune.qat import remove_quantizers
from xopt.tune.quantized_attention import ATTENTION

__all__ = ["folders"]


def logits(model: Any, batch: PackedBatch) -> np.ndarray:
    rows = []
    with torch.inference_mode():
        for start, end in zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True):
            ids = torch.from_numpy(batch.input_ids[start:end]).long()[None]
            rows.append(model(input_ids=ids).logits[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("form", ["cuda", "cuda-attention"])
def test_the_answers_are_those_of_the_recipe(form: str, folders: Callable[[str], Path]) -> None:
    folder = folders(form)
    checkpoint, _, ranges = lowered(folder, form)
    batch = calibrated_batch(checkpoint)
    provenance = {"provenance": {"ranges": ranges.fingerprint}}
    bundle: Any = SimpleNamespace(precision=options_of(form).precision, manifest=provenance)
    expected = by_definition(checkpoint, bundle, batch)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    found = logits(load(folder, form), batch)
    # Nearly all of INT8's error is in the simulation; fp32 sums in other orders are the rest.
    assert np.linalg.norm(expected - exact) > 1e-3 * np.linalg.norm(exact)
    error = np.linalg.norm(found - expected)
    assert error <= FP32_SHARE * np.linalg.norm(expected - exact)


def whole_numbers(path: Path, batch: PackedBatch, names: list[str]) -> list[np.ndarray]:
    """What the graph quantizes, by ONNX's own reference, with its fp16 operations in fp32."""
    model = onnx.load(path)
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == half:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == half:
                attribute.i = single
    for name in names:
        told = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None)
        model.graph.output.append(told)
    arrays = tensorrt_arrays(batch)
    given = {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in arrays.items()}
    evaluator = ReferenceEvaluator(model)
    found: list[np.ndarray] = evaluator.run(names, {n: given[n] for n in evaluator.input_names})
    return found


def note(module: Any, how: Any, seen: dict[str, list[np.ndarray]], name: str) -> None:
    """Keep the whole numbers of what a quantizer reads, or of what a linear layer gives."""
    parts = seen.setdefault(name, [])

    def keep(own: Any, given: Any, out: torch.Tensor) -> None:
        parts.append(how.codes(given[0] if own is how else out)[0].numpy())

    module.register_forward_hook(keep)


@pytest.mark.parametrize("form", ["tensorrt", "tensorrt-attention"])
def test_values_have_the_whole_numbers_of_tensorrts_graph(
    form: str, folders: Callable[[str], Path]
) -> None:
    """Of the first layer; behind it each value that went to the other integer moves all others.

    The graph's tables are fp16: a value within 127 steps is off by 127 · 2^-11 of one at most, and
    that share of the values may go to the other integer.
    """
    folder = folders(form)
    checkpoint, graph, _ = lowered(folder, form)
    batch = calibrated_batch(checkpoint)
    model, seen = load(folder, form), {}
    layer = model.base_model.encoder.layer[0]
    attention = layer.attention.self
    read = {"qkv_in": attention.query, "context": layer.attention.output.dense,
            "ffn_in": layer.intermediate.dense}  # fmt: skip
    if form == "tensorrt-attention":
        # A probability that goes to the other integer moves a whole context.
        read = {"qkv_in": attention.query}
    for site, module in read.items():
        note(module.input_quantizer, module.input_quantizer, seen, site)
    if form == "tensorrt-attention":
        own = getattr(attention, ATTENTION)
        for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
            note(getattr(attention, name), getattr(own, part), seen, part)
    logits(model, batch)
    names = [f"layers.0.{site}.q" for site in seen]
    bounds = list(pairwise(batch.cu_seqlens.tolist()))
    for (site, parts), expected in zip(
        seen.items(), whole_numbers(graph.path, batch, names), strict=True
    ):
        if expected.ndim == 4:
            # Padded, and by heads.
            rows = [
                part[:, : end - start].swapaxes(0, 1).reshape(end - start, -1)
                for part, (start, end) in zip(expected, bounds, strict=True)
            ]
            expected = np.concatenate(rows)
        apart = np.abs(np.concatenate(parts) - expected)
        assert apart.max() <= 1, site
        assert (apart != 0).mean() <= 127 * 2**-11, site


@pytest.mark.parametrize("form", ["cpu-any", "cuda-attention", "tensorrt-attention"])
def test_every_weight_gets_a_gradient_and_all_is_taken_out_again(
    form: str, folders: Callable[[str], Path]
) -> None:
    model = load(folders(form), form)
    implementation = "eager"
    ids = torch.tensor([[0, 40, 41, 42, 2], [0, 50, 51, 2, 1]])
    model(input_ids=ids, attention_mask=(ids != 1).long()).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        # A key's bias moves all scores of a query alike, and the softmax undoes it.
        if not name.endswith("key.bias"):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    remove_quantizers(model)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(folders(form))
    assert set(model.state_dict()) == set(plain.state_dict())
    assert model.config._attn_implementation == plain.config._attn_implementation != implementation
    assert [name for name, _ in model.named_modules()] == [n for n, _ in plain.named_modules()]
    with torch.inference_mode():
        assert torch.equal(model.eval()(input_ids=ids).logits, plain.eval()(input_ids=ids).logits)


def test_padding_changes_no_answer(folders: Callable[[str], Path]) -> None:
    model = load(folders("cuda-attention"), "cuda-attention")
    ids = torch.tensor([[0, 40, 41, 42, 2], [0, 50, 51, 2, 1]])
    with torch.inference_mode():
        both = model(input_ids=ids, attention_mask=(ids != 1).long()).logits
        alone = model(input_ids=ids[1:, :4]).logits
    np.testing.assert_allclose(both[1:].numpy(), alone.numpy(), rtol=0, atol=1e-5)
