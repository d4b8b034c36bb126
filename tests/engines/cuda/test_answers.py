"""The CUDA engine against the fp32 encoder and against its recipe in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tests.engines.cuda.definition import by_definition
from tests.engines.cuda.made import (
    ENCODERS,
    Build,
    Factory,
    answer,
    encodings,
    open_here,
    ragged,
)
from tests.rounding import EVERYWHERE, MARGIN, calibrated_batch, distance, rounding_error

from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower_kernels import kernel_arrays
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.errors import UnsupportedError
from xopt.packing import pack
from xopt.tokenization import Tokenizer

# The engine's promise: with fp32 activations it computes what the recipe says, up to fp32 rounding;
# a value that lies at a half step of INT8 goes to the other integer.
ROUNDING = 2e-5
# In INT8, fp16 activations move an answer by this share of what quantization moved it by (root mean
# squares): rounding to fp16 sends values near a half step to the other integer. A value of one
# standard deviation has 32 of the 127 steps, and fp16 rounds it by 1/128 of a step in the mean,
# about twice before a product. So 2 * 2**0.5 / 128 of the values go to the other integer; each
# moves by a step, whose square is 12 times the mean one of rounding.
FP16_SHARE = (12 * 2 * 2**0.5 / 128) ** 0.5
# The same of fp32: a sum of 64 numbers within 127 steps is off by 64 * 127 * 2**-24 at most, and
# values that near to a half step, on either side, may go to the other integer.
FP32_SHARE = (12 * 2 * 64 * 127 * 2**-24) ** 0.5

SAMPLE = [("xlmr-classify", "int8-attention"), ("bert-tag", "fp16"), ("bert-tag", "int8")]


@pytest.mark.parametrize(("name", "precision"), SAMPLE)
def test_the_answers_are_those_of_the_recipe(built: Build, name: str, precision: str) -> None:
    checkpoint, bundle = built(name, precision)
    batch = ragged(checkpoint, [1, 33, 7, 20])
    expected = by_definition(checkpoint, bundle, batch)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    with open_here(bundle, dtype="fp32") as engine:
        difference = np.abs(answer(engine, batch) - expected)
    assert np.median(difference) <= ROUNDING
    if precision == "fp16":
        assert difference.max() <= ROUNDING
    else:
        assert np.linalg.norm(difference) <= FP32_SHARE * np.linalg.norm(expected - exact)
    with open_here(bundle) as engine:
        difference = answer(engine, batch) - expected
    if precision == "fp16":
        bound = EVERYWHERE * rounding_error(checkpoint, batch, "fp16")
        assert np.linalg.norm(difference) <= bound * np.linalg.norm(expected)
    else:
        assert np.linalg.norm(difference) <= MARGIN * FP16_SHARE * np.linalg.norm(expected - exact)


@pytest.mark.parametrize("head", ["classify", "embed"])
def test_what_fp16_cannot_hold_is_named(make_checkpoint: Factory, head: str) -> None:
    folder = make_checkpoint("xlm-roberta", head)
    path = folder / "model.safetensors"
    state = load_file(path)
    [name] = [name for name in state if "layer.1.intermediate.dense.weight" in name]
    state[name][3, 5] = 1e5
    save_file(state, path, metadata={"format": "pt"})
    model = PackedEncoder.load(Checkpoint.open(folder))
    with pytest.raises(UnsupportedError, match=r"layers\.1\.ffn_in holds 1e\+05") as caught:
        kernel_arrays(model, lowering_for("cuda", "fp16"), {})
    assert "--target cpu" in caught.value.hint


@pytest.mark.parametrize("name", list(ENCODERS))
def test_every_head_gives_the_torch_answer(made: Build, name: str) -> None:
    checkpoint, bundle = made(name, "fp16")
    batch = ragged(checkpoint, [5, 1, 21])
    expected = PackedEncoder.load(checkpoint).run(batch).numpy()
    with open_here(bundle) as engine:
        got = answer(engine, batch)
    assert got.dtype == np.float32
    assert distance(got, expected) <= EVERYWHERE * rounding_error(checkpoint, batch, "fp16")


@pytest.mark.parametrize("name", ["camembert-span", "roberta-mean", "xlmr-layer0"])
def test_int8_loses_what_rounding_loses(
    opened: Callable[[str], Checkpoint], gpu_build: ModuleType, tmp_path: Path, name: str
) -> None:
    """On texts that were measured: short sentences of other tokens have a context up to 5 times as
    large as any measured one, since less is averaged, and what lies beyond the range is cut off.
    """
    checkpoint = opened(name)
    encoder = PackedEncoder.load(checkpoint)
    tokenizer = Tokenizer.open(checkpoint.folder / "tokenizer.json", 128)
    ranges = calibrate(
        encoder,
        checkpoint.fingerprint,
        draw_sample(load_corpus(), tokenizer, max_tokens=1000),
        CalibrationRecipe(),
        first_position=checkpoint.config.first_position,
    )
    bundle = gpu_build.write_bundle(checkpoint, encoder, "int8", ranges, tmp_path / "bundle")
    batch = calibrated_batch(checkpoint, max_tokens=1000, most=6)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    with open_here(bundle) as engine:
        close = answer(engine, batch)
    assert distance(close, exact) <= MARGIN * rounding_error(checkpoint, batch, "int8")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 2**-9), ("int8", 1e-6)])
def test_an_answer_never_depends_on_its_batch_mates(
    made: Build, precision: str, tolerance: float
) -> None:
    """In INT8 every sum of the encoder is an integer, or runs in an order of its own.

    In fp16 the library may sum a product of more rows in another order: a step of values from 2 on.
    """
    _, bundle = made("bert-tag", precision)
    items = encodings([3, 41, 1, 17], seed=4)
    with open_here(bundle) as engine:
        together = answer(engine, pack(items, first_position=0))
        for number in (1, 3):
            start = sum(map(len, items[:number]))
            alone = answer(engine, pack(items[number : number + 1], first_position=0))
            assert np.abs(alone - together[start : start + len(alone)]).max() <= tolerance


def test_the_card_says_what_is_wasted(built: Build) -> None:
    _, bundle = built("bert-tag", "fp16")
    said = bundle.manifest["engine"]["buckets_text"]
    card = (bundle.folder / "card.md").read_text()
    assert f"- on the GPU: {said}" in card
    assert "- runs on: an NVIDIA GPU of SM 80 or newer" in card
    with open_here(bundle) as engine:
        assert engine.describe()["buckets"] == said
