"""Pooling and the modules behind it, beside sentence-transformers, from texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as parts
from tests.rounding import EVERYWHERE, distance, rounding_error

from xopt.activations import CLASSES
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.recipes import check_head, lowering_for
from xopt.compile.trace import trace_checkpoint
from xopt.engines.openvino import open_core
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.errors import UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack

Factory = Callable[..., Path]
TEXTS = ["Habari za asubuhi?", "zwei", "一二三四五六七", "नमस्ते दुनिया, यह एक लंबा वाक्य है।", "x"]

Parts = Callable[[], list[torch.nn.Module]]
# What stands behind the Transformer, and how many values come out.
SHAPES: dict[str, tuple[Parts, int]] = {
    "every mode": (
        lambda: [
            parts.Pooling(
                64,
                ("lasttoken", "mean", "weightedmean", "max", "mean_sqrt_len_tokens", "cls"),
            ),
            parts.Dense(384, 200),
        ],
        200,
    ),
    "labse": (
        lambda: [parts.Pooling(64, "cls"), parts.Dense(64, 32), parts.Normalize()],
        32,
    ),
    "gelu without bias": (
        lambda: [
            parts.Pooling(64),
            parts.Dense(64, 80, bias=False, activation_function=torch.nn.GELU()),
            parts.Dropout(0.5),
            parts.LayerNorm(80),
            parts.Normalize(),
            parts.Dense(80, 24, activation_function=torch.nn.SiLU(), use_residual=True),
            parts.Dense(24, 24, activation_function=torch.nn.Mish(), use_residual=True),
        ],
        24,
    ),
}


def save(folder: Path, out: Path, modules: list[torch.nn.Module], **options: Any) -> Path:
    """A folder that sentence-transformers itself has written."""
    torch.manual_seed(5)
    for module in modules:
        for name, value in module.named_parameters():
            torch.nn.init.normal_(value, 1.0 if name == "norm.weight" else 0.0, 0.2)
    transformer = parts.Transformer(str(folder))
    model = SentenceTransformer(modules=[transformer, *modules], device="cpu", **options)
    model.save_pretrained(str(out), create_model_card=False)
    return out


def theirs(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    model = SentenceTransformer(str(folder), device="cpu")
    found: np.ndarray = model.encode(texts, **options)
    return found


def batch_of(
    checkpoint: Checkpoint, folder: Path, texts: list[str], prompt: int = 0
) -> PackedBatch:
    """The tokens that sentence-transformers makes."""
    model = SentenceTransformer(str(folder), device="cpu")
    items = [model.tokenizer(text)["input_ids"] for text in texts]
    return pack(
        [
            Encoding(np.array(ids, np.int32), np.zeros(len(ids), np.int32), prompt_tokens=prompt)
            for ids in items
        ],
        first_position=checkpoint.config.first_position,
    )


def ours(checkpoint: Checkpoint, batch: PackedBatch) -> np.ndarray:
    graph = trace_checkpoint(checkpoint)
    program = open_core().compile_model(graph.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    arrays = batch.arrays()
    return np.array(program({name: arrays[name] for name in graph.manifest["inputs"]})[0])


def unit(rows: np.ndarray, head: dict[str, Any]) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / length if head["normalize"] else rows


@pytest.mark.parametrize("shape", SHAPES)
def test_a_folder_answers_as_sentence_transformers_does(
    make_checkpoint: Factory, tmp_path: Path, shape: str
) -> None:
    made, width = SHAPES[shape]
    folder = save(make_checkpoint(), tmp_path / "st", made())
    checkpoint = Checkpoint.open(folder)
    head = checkpoint.head.manifest()
    expected = theirs(folder, TEXTS)
    batch = batch_of(checkpoint, folder, TEXTS)
    found = unit(ours(checkpoint, batch), head)
    assert found.shape == expected.shape == (len(TEXTS), width)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # One sentence alone, through a batch in which nothing is padded.
    alone = unit(ours(checkpoint, batch_of(checkpoint, folder, TEXTS[:1])), head)
    np.testing.assert_allclose(alone, expected[:1], atol=1e-5)
    # TensorRT's form, in onnx's own evaluator: fp16 but for the head.
    lowering = lowering_for("tensorrt-rtx", "fp16")
    check_head("tensorrt-rtx", lowering, checkpoint.config, checkpoint.head, checkpoint.depth)
    lowered = lower_graph(trace_checkpoint(checkpoint), lowering, None, checkpoint=checkpoint)
    evaluator = ReferenceEvaluator(str(lowered.path))
    arrays = tensorrt_arrays(batch)
    [half] = evaluator.run(None, {name: arrays[name] for name in evaluator.input_names})
    assert distance(half, ours(checkpoint, batch)) <= EVERYWHERE * rounding_error(
        checkpoint, batch, "fp16"
    )


def test_a_prompt_is_left_out_of_the_pooling(make_checkpoint: Factory, tmp_path: Path) -> None:
    names = {"eos_token": "</s>"}
    for special in (True, False):
        modes = ("mean", "weightedmean", "cls", "max", "lasttoken")
        made = shutil.copytree(make_checkpoint(), tmp_path / f"{special}")
        if special:
            path = made / "tokenizer_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | names))
        folder = save(
            made,
            tmp_path / f"st-{special}",
            [parts.Pooling(64, modes, include_prompt=False)],
            prompts={"query": "Tafuta: "},
            default_prompt_name="query",
        )
        checkpoint = Checkpoint.open(folder)
        tokenizer = SentenceTransformer(str(folder), device="cpu").tokenizer
        count = checkpoint.text.prompt_tokens(tokenizer("Tafuta: ")["input_ids"])
        assert not checkpoint.head.include_prompt
        batch = batch_of(checkpoint, folder, ["Tafuta: " + text for text in TEXTS], count)
        expected = theirs(folder, TEXTS)
        np.testing.assert_allclose(ours(checkpoint, batch), expected, atol=1e-5)
        without = theirs(folder, ["Tafuta: " + text for text in TEXTS], prompt="")
        assert np.abs(expected - without).max() > 0.01
        lowering = lowering_for("tensorrt-rtx", "fp16")
        lowered = lower_graph(trace_checkpoint(checkpoint), lowering, None, checkpoint=checkpoint)
        evaluator = ReferenceEvaluator(str(lowered.path))
        arrays = tensorrt_arrays(batch)
        [half] = evaluator.run(None, {name: arrays[name] for name in evaluator.input_names})
        assert distance(half, expected) <= EVERYWHERE * rounding_error(checkpoint, batch, "fp16")


def test_truncate_dim_cuts_what_was_made_length_1(make_checkpoint: Factory, tmp_path: Path) -> None:
    folder = save(
        make_checkpoint(), tmp_path / "st", [parts.Pooling(64), parts.Normalize()], truncate_dim=16
    )
    checkpoint = Checkpoint.open(folder)
    found = ours(checkpoint, batch_of(checkpoint, folder, TEXTS))
    expected = theirs(folder, TEXTS)
    assert found.shape == (5, 16)
    assert np.linalg.norm(expected, axis=1).max() < 0.9
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("target", ["cuda", "torch-tensorrt"])
def test_a_target_that_cannot_do_a_head_names_those_that_can(
    make_checkpoint: Factory, tmp_path: Path, target: str
) -> None:
    folder = save(make_checkpoint(), tmp_path / "st", [parts.Pooling(64, "max")])
    read = Checkpoint.open(folder)
    with pytest.raises(UnsupportedError, match="max pooling") as caught:
        check_head(target, lowering_for(target, "fp16"), read.config, read.head, read.depth)
    assert caught.value.hint.endswith("--target cpu or tensorrt-rtx or tensorrt")


# The library makes the softmaxes without an axis.
@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_every_activation_of_torch(make_checkpoint: Factory, tmp_path: Path) -> None:
    modules: list[torch.nn.Module] = [parts.Pooling(64)]
    for name in CLASSES:
        modules.append(parts.Dense(64, 64, activation_function=getattr(torch.nn, name)()))
        modules.append(parts.LayerNorm(64))
    folder = save(make_checkpoint(), tmp_path / "st", modules)
    checkpoint = Checkpoint.open(folder)
    batch = batch_of(checkpoint, folder, TEXTS)
    expected = theirs(folder, TEXTS)
    np.testing.assert_allclose(ours(checkpoint, batch), expected, atol=1e-4)
    lowering = lowering_for("tensorrt-rtx", "fp16")
    lowered = lower_graph(trace_checkpoint(checkpoint), lowering, None, checkpoint=checkpoint)
    evaluator = ReferenceEvaluator(str(lowered.path))
    arrays = tensorrt_arrays(batch)
    [half] = evaluator.run(None, {name: arrays[name] for name in evaluator.input_names})
    assert distance(half, expected) <= EVERYWHERE * rounding_error(checkpoint, batch, "fp16")
