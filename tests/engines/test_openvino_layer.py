"""Our own layer for OpenVINO, against its definition in float64."""

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch

from xopt import host
from xopt.engines.openvino import open_core
from xopt.engines.openvino_layer import in_panels, suits_here
from xopt.engines.openvino_native import load_attention
from xopt.host import cpu_flags_left

Factory = Callable[..., Path]
Arrays = dict[str, np.ndarray]
# Typed as of another class than the one that it is made by.
Model: Any = openvino.Model
ROOT = Path(__file__).parents[2]
WIDTH, MIDDLE, HEADS, EPSILON = 64, 96, 2, 1e-5
# In steps: a product and a sum of up to 255 in fp32. Behind the first code what is rounded is a
# sum itself, off by some tens of 2**-24, times 60 steps.
TIES = {"in": 2 * 255 * 2**-24, "context": 2e-4, "up": 2e-4, "down": 2e-4}
# The same of a value of size 1 that is rounded to bf16; the GELU itself is off by 2e-6.
TIES_BF16 = {"in": 2**-22, "context": 1e-6, "up": 2e-6, "down": 4e-6}
# Product -> what it reads.
READS = {"qkv": "in", "output": "context", "up": "up", "down": "down"}
INT8 = dict.fromkeys(READS, "int8")
BF16, FP32 = dict.fromkeys(READS, "bf16"), dict.fromkeys(READS, "fp32")
MIXED = {"qkv": "bf16", "output": "fp32", "up": "int8", "down": "bf16"}
OTHERS = {"qkv": "fp32", "output": "bf16", "up": "bf16", "down": "int8"}
# Every number of rows that is left for the last tile, two chunks of rows, a sentence beyond one.
LENGTHS = [1, 2, 3, 5, 8, 9, 11, 12, 13, 31, 40, 63, 64, 0, 300, 7]


@pytest.fixture(scope="module", autouse=True)
def factory() -> Any:
    native = load_attention(open_core())
    if native.factory is None or not suits_here():
        pytest.skip(native.reason or "no layer of our own for this CPU")
    return native.factory


def bf16(value: np.ndarray) -> np.ndarray:
    """The nearest one, by PyTorch."""
    near = torch.from_numpy(np.ascontiguousarray(value, np.float32)).bfloat16()
    return near.float().numpy().astype(np.float64)


def a_layer(kinds: dict[str, str] = INT8) -> Arrays:
    """Weights of these kinds, and a number for each column in the order of ``layer.h``.

    Two products of a code and a weight fit into 16 bits, which is what CPUs without VNNI ask for.
    """
    generator = np.random.default_rng(7)

    def weight(rows: int, columns: int) -> np.ndarray:
        return generator.integers(-63, 64, (rows, columns)).astype(np.int8)

    def column(count: int, middle: float, spread: float) -> np.ndarray:
        return generator.normal(middle, spread, count).astype(np.float32)

    layer: Arrays = {
        "qkv": weight(3 * WIDTH, WIDTH), "output": weight(WIDTH, WIDTH),
        "up": weight(MIDDLE, WIDTH), "down": weight(WIDTH, MIDDLE),
        "in_steps": column(WIDTH, 40, 5), "in_zero": column(WIDTH, 120, 4),
        "qkv_scale": column(3 * WIDTH, 6e-5, 1e-5), "qkv_bias": column(3 * WIDTH, 0, 0.3),
        "context_steps": column(WIDTH, 60, 5), "context_zero": column(WIDTH, 128, 4),
        "output_scale": column(WIDTH, 6e-5, 1e-5), "output_bias": column(WIDTH, 0, 0.3),
        "first_weight": column(WIDTH, 1, 0.2),
        "up_steps": column(WIDTH, 40, 5), "up_zero": column(WIDTH, 120, 4),
        "up_scale": column(MIDDLE, 1.2e-4, 1e-5), "up_bias": column(MIDDLE, 0, 1),
        "down_steps": column(MIDDLE, 60, 5), "down_zero": column(MIDDLE, 16, 2),
        "down_scale": column(WIDTH, 6e-5, 1e-5), "down_bias": column(WIDTH, 0, 0.3),
        "second_weight": column(WIDTH, 1, 0.2),
    }  # fmt: skip
    for product, site in READS.items():
        if kinds[product] != "int8":
            height, depth = layer[product].shape
            exact = generator.normal(0, 0.15, (height, depth)).astype(np.float32)
            layer[product] = bf16(exact).astype(np.float32) if kinds[product] == "bf16" else exact
            layer[f"{site}_steps"] = column(depth, 1, 0.1)
            layer[f"{site}_zero"] = column(depth, 0, 0.1)
            layer[f"{product}_scale"] = np.ones(height, np.float32)
    return layer


def stored(weight: np.ndarray) -> np.ndarray:
    """float32 whose lower half is 0 is bf16."""
    if weight.dtype == np.int8:
        return weight
    bits = weight.view(np.uint32)
    return weight if (bits & 0xFFFF).any() else (bits >> 16).astype(np.uint16)


def run(factory: Any, layer: Arrays, x: np.ndarray, starts: np.ndarray, threads: int) -> np.ndarray:
    opset: Any = openvino.opset13
    given = opset.parameter([-1, WIDTH], np.float32), opset.parameter([-1], np.int32)
    weights = [opset.constant(in_panels(stored(layer[product]))) for product in READS]
    columns = np.concatenate([value for value in layer.values() if value.ndim == 1])
    facts = {"number": 0, "heads": HEADS, "scale": 0.2, "epsilon": EPSILON}
    inputs = [*given, *weights, opset.constant(columns)]
    node = factory.create("PackedLayer", inputs, facts)
    model = Model([opset.result(node)], [*given], "one layer")
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    return np.array(open_core().compile_model(model, "CPU", config)([x, starts])[0])


def definition(layer: Arrays, x: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The answer, and in which rows every code is the nearest of fp32 as well."""
    decided = np.ones(len(x), bool)

    def codes(value: np.ndarray, product: str) -> np.ndarray:
        site = READS[product]
        exact = value * layer[f"{site}_steps"] + layer[f"{site}_zero"]
        kind = stored(layer[product]).dtype
        if kind == np.float32:
            return np.asarray(exact)
        if kind == np.uint16:
            near = bf16(exact)
            step = 2.0 ** (np.floor(np.log2(np.abs(exact) + 1e-30)) - 7)
            room = TIES_BF16[site] * np.maximum(1, np.abs(exact))
            tie = np.abs(np.abs(exact - near) - step / 2) < room
            # What a small number is rounded by is nothing here.
            decided[:] &= ~(tie & (step > 5e-5)).any(axis=1)
            return near
        decided[:] &= (np.abs(exact - np.floor(exact) - 0.5) > TIES[site]).all(axis=1)
        return np.clip(np.rint(exact), 0, 255)

    def linear(value: np.ndarray, name: str) -> np.ndarray:
        product = codes(value, name) @ layer[name].astype(np.float64).T
        return product * layer[f"{name}_scale"] + layer[f"{name}_bias"]

    def norm(value: np.ndarray) -> np.ndarray:
        off = value - value.mean(axis=1, keepdims=True)
        return off / np.sqrt((off**2).mean(axis=1, keepdims=True) + EPSILON)

    x = x.astype(np.float64)
    q, k, v = np.split(linear(x, "qkv"), 3, axis=1)
    context = np.zeros_like(x)
    for begin, end in itertools.pairwise(starts):
        # Every row of a sentence reads every other.
        decided[begin:end] = decided[begin:end].all()
        for part in np.split(np.arange(WIDTH), HEADS):
            scores = 0.2 * q[begin:end, part] @ k[begin:end, part].T
            probs = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-1e9))
            probs /= probs.sum(axis=1, keepdims=True)
            context[begin:end, part] = probs @ v[begin:end, part]
    first = norm(linear(context, "output") + x * layer["first_weight"])
    wide = linear(first, "up")
    wide *= (1 + np.vectorize(math.erf)(wide / 2**0.5)) / 2
    return norm(linear(wide, "down") + first * layer["second_weight"]), decided


@pytest.mark.parametrize("kinds", [INT8, BF16, FP32, MIXED, OTHERS])
def test_a_layer_is_its_definition(factory: Any, kinds: dict[str, str]) -> None:
    """But where a code lies halfway between two steps, and may fall to the other side."""
    generator = np.random.default_rng(0)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    x = generator.normal(size=(int(starts[-1]) + 5, WIDTH)).astype(np.float32)
    layer = a_layer(kinds)
    found, used = run(factory, layer, x, starts, 2), int(starts[-1])
    exact, decided = definition(layer, x[:used], starts)
    off = np.abs(found[:used] - exact).max(axis=1)
    short = np.repeat(np.array(LENGTHS) < 64, LENGTHS)
    assert (decided & short).sum() >= 10
    # A norm of fp32 sums of 64 or 96 numbers of size 1.
    assert off[decided & short].max() <= 1e-5
    # Attention of long sentences has steps of its own, a tenth of one of a code's.
    assert off.max() <= 0.1
    assert not found[used:].any()


@pytest.mark.parametrize("kinds", [INT8, MIXED, OTHERS])
def test_a_sentence_has_the_same_bits_alone_and_in_any_batch(
    factory: Any, kinds: dict[str, str]
) -> None:
    generator = np.random.default_rng(1)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    x = generator.normal(size=(int(starts[-1]), WIDTH)).astype(np.float32)
    layer = a_layer(kinds)
    one, two = (run(factory, layer, x, starts, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    for begin, end in itertools.pairwise(starts):
        if end > begin:
            own = np.array([0, end - begin], np.int32)
            alone = run(factory, layer, x[begin:end], own, 1)
            np.testing.assert_array_equal(alone, one[begin:end])
    # What no number can be made of stays in its sentence.
    x[starts[4]] = np.nan
    other = run(factory, layer, x, starts, 2)
    keep = np.r_[: starts[4], starts[5] : starts[-1]]
    np.testing.assert_array_equal(other[keep], one[keep])


def test_no_number_stays_none_in_bf16(factory: Any) -> None:
    """Whatever its bits: one with all of them would round to 0."""
    x = np.zeros((20, WIDTH), np.float32)
    x[::2, 5] = np.array([0x7FFFFFFF], np.uint32).view(np.float32)
    starts = np.arange(21, dtype=np.int32)
    answer = run(factory, a_layer(BF16), x, starts, 1)
    assert np.isnan(answer[::2]).all()
    assert np.isfinite(answer[1::2]).all()


@pytest.mark.parametrize("site", ["in", "context", "up", "down"])
def test_what_lies_far_behind_the_last_code_becomes_it(factory: Any, site: str) -> None:
    """Also beyond 2^31 steps, where a whole number of 32 bits ends."""
    generator = np.random.default_rng(3)
    starts = np.array([0, 40], np.int32)
    x = generator.normal(size=(40, WIDTH)).astype(np.float32)
    layer = a_layer()
    # A GELU has values just below 0.
    layer[f"{site}_zero"] = np.zeros_like(layer[f"{site}_zero"])
    answers = []
    for steps in (1e8, 1e20):
        layer[f"{site}_steps"] = np.full_like(layer[f"{site}_steps"], steps)
        answers.append(run(factory, layer, x, starts, 1))
    np.testing.assert_array_equal(answers[0], answers[1])


@pytest.mark.parametrize("norm", ["first", "second"])
def test_a_variance_beyond_float32_is_no_row_of_zeros(factory: Any, norm: str) -> None:
    generator = np.random.default_rng(4)
    layer = a_layer()
    layer[f"{norm}_weight"] *= np.float32(1e20)
    x = generator.normal(size=(40, WIDTH)).astype(np.float32)
    assert np.isnan(run(factory, layer, x, np.array([0, 40], np.int32), 1)).all()


def one_answer(factory: Any) -> np.ndarray:
    generator = np.random.default_rng(2)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    x = generator.normal(size=(int(starts[-1]), WIDTH)).astype(np.float32)
    kinds = (INT8, MIXED, OTHERS)
    return np.stack([run(factory, a_layer(kind), x, starts, 2) for kind in kinds])


def save_one_answer(path: str) -> None:
    """In a process of its own, which another instruction set is withheld from."""
    native = load_attention(open_core())
    assert native.factory is not None, native.reason
    np.save(path, one_answer(native.factory))


@pytest.mark.parametrize("left", ["AVX512_CORE_VNNI", "AVX512_CORE", "AVX2_VNNI", "AVX2"])
def test_every_instruction_set_gives_the_same_bits(factory: Any, tmp_path: Path, left: str) -> None:
    """Sums of 16 lanes have one order; long sentences, whose attention is in whole numbers, too."""
    here = set(cpu_flags_left())
    if here <= set(host.ISA_LEAVES[left]) or (left == "AVX2_VNNI" and "avx_vnni" not in here):
        pytest.skip("this CPU has no instruction set that could be withheld")
    path = tmp_path / "answer.npy"
    child = f"from {__name__} import save_one_answer; save_one_answer({str(path)!r})"
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": left}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", child], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(path), one_answer(factory))
