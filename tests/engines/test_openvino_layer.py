"""Our own INT8 layer for OpenVINO, against its definition in float64 and OpenVINO's own layers."""

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

from xopt.compile.build import BuildOptions, build_bundle
from xopt.engines.openvino import OpenVinoEngine, open_core
from xopt.engines.openvino_layer import in_panels, suits_here
from xopt.engines.openvino_native import load_attention
from xopt.evaluate.work import work_batch
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
# Every number of rows that is left for the last tile, two chunks of rows, a sentence beyond one.
LENGTHS = [1, 2, 3, 5, 8, 9, 11, 12, 13, 31, 40, 63, 64, 0, 300, 7]


@pytest.fixture(scope="module", autouse=True)
def factory() -> Any:
    native = load_attention(open_core())
    if native.factory is None or not suits_here():
        pytest.skip(native.reason or "OpenVINO multiplies INT8 faster here")
    return native.factory


def a_layer() -> Arrays:
    """Weights in whole numbers, and a number for each column in the order of ``layer.h``.

    Two products of a code and a weight fit into 16 bits, which is what CPUs without VNNI ask for.
    """
    generator = np.random.default_rng(7)

    def weight(rows: int, columns: int) -> np.ndarray:
        return generator.integers(-63, 64, (rows, columns)).astype(np.int8)

    def column(count: int, middle: float, spread: float) -> np.ndarray:
        return generator.normal(middle, spread, count).astype(np.float32)

    layer = {
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
    return layer


def run(factory: Any, layer: Arrays, x: np.ndarray, starts: np.ndarray, threads: int) -> np.ndarray:
    opset: Any = openvino.opset13
    given = opset.parameter([-1, WIDTH], np.float32), opset.parameter([-1], np.int32)
    weights = [opset.constant(in_panels(layer[k])) for k in ("qkv", "output", "up", "down")]
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

    def codes(value: np.ndarray, site: str) -> np.ndarray:
        exact = value * layer[f"{site}_steps"] + layer[f"{site}_zero"]
        decided[:] &= (np.abs(exact - np.floor(exact) - 0.5) > TIES[site]).all(axis=1)
        return np.clip(np.rint(exact), 0, 255)

    def linear(value: np.ndarray, name: str) -> np.ndarray:
        product = value @ layer[name].astype(np.float64).T
        return product * layer[f"{name}_scale"] + layer[f"{name}_bias"]

    def norm(value: np.ndarray) -> np.ndarray:
        off = value - value.mean(axis=1, keepdims=True)
        return off / np.sqrt((off**2).mean(axis=1, keepdims=True) + EPSILON)

    x = x.astype(np.float64)
    q, k, v = np.split(linear(codes(x, "in"), "qkv"), 3, axis=1)
    context = np.zeros_like(x)
    for begin, end in itertools.pairwise(starts):
        # Every row of a sentence reads every other.
        decided[begin:end] = decided[begin:end].all()
        for part in np.split(np.arange(WIDTH), HEADS):
            scores = 0.2 * q[begin:end, part] @ k[begin:end, part].T
            probs = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-1e9))
            probs /= probs.sum(axis=1, keepdims=True)
            context[begin:end, part] = probs @ v[begin:end, part]
    first = norm(linear(codes(context, "context"), "output") + x * layer["first_weight"])
    wide = linear(codes(first, "up"), "up")
    wide *= (1 + np.vectorize(math.erf)(wide / 2**0.5)) / 2
    return norm(linear(codes(wide, "down"), "down") + first * layer["second_weight"]), decided


def test_a_layer_is_its_definition(factory: Any) -> None:
    """But where a code lies halfway between two steps, and may fall to the other side."""
    generator = np.random.default_rng(0)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    x = generator.normal(size=(int(starts[-1]) + 5, WIDTH)).astype(np.float32)
    layer = a_layer()
    found, used = run(factory, layer, x, starts, 2), int(starts[-1])
    exact, decided = definition(layer, x[:used], starts)
    off = np.abs(found[:used] - exact).max(axis=1)
    short = np.repeat(np.array(LENGTHS) < 64, LENGTHS)
    assert (decided & short).sum() > (~decided & short).sum()
    # A norm of fp32 sums of 64 or 96 numbers of size 1.
    assert off[decided & short].max() <= 1e-5
    # Attention of long sentences has steps of its own, a tenth of one of a code's.
    assert off.max() <= 0.1
    assert not found[used:].any()


def test_a_sentence_has_the_same_bits_alone_and_in_any_batch(factory: Any) -> None:
    generator = np.random.default_rng(1)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    x = generator.normal(size=(int(starts[-1]), WIDTH)).astype(np.float32)
    layer = a_layer()
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
    return run(factory, a_layer(), x, starts, 2)


def save_one_answer(path: str) -> None:
    """In a process of its own, which another instruction set is withheld from."""
    native = load_attention(open_core())
    assert native.factory is not None, native.reason
    np.save(path, one_answer(native.factory))


@pytest.mark.parametrize("left", ["AVX512_CORE", "AVX2"])
def test_every_instruction_set_gives_the_same_bits(factory: Any, tmp_path: Path, left: str) -> None:
    """Sums of 16 lanes have one order; long sentences, whose attention is in whole numbers, too."""
    if not {"avx512f", "avx512_vnni"} & set(cpu_flags_left()):
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


@pytest.mark.parametrize(
    ("family", "changes", "sites", "own"),
    [
        ("xlm-roberta", {}, None, 2),
        ("bert", {}, None, 2),
        ("xlm-roberta", {}, "layers.0.ffn_act", 1),
        # No panels of 32 columns.
        ("xlm-roberta", {"hidden_size": 48, "num_attention_heads": 3}, None, 0),
    ],
)
def test_layers_of_the_known_kind_are_replaced(
    make_checkpoint: Factory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    changes: dict[str, int],
    sites: str | None,
    own: int,
) -> None:
    """And what they answer is what OpenVINO's layers answer, within the steps of INT8."""
    checkpoint = str(make_checkpoint(family, "embed", **changes))
    options = BuildOptions(
        checkpoint, precision="int8", out=str(tmp_path / "b"), calibration_tokens=2000,
        fp32_sites=sites,
    )  # fmt: skip
    bundle = build_bundle(options, record=False).bundle
    answers = []
    for suits, count in ((True, own), (False, 0)):
        monkeypatch.setattr("xopt.engines.openvino.suits_here", lambda suits=suits: suits)
        with OpenVinoEngine(bundle, threads=2) as engine:
            facts = engine.signature
            batch = work_batch(
                [3, 40, 17, 60], first_position=facts.first_position, vocabulary=facts.vocabulary
            )
            [answer] = engine.run(batch).values()
            kernels = engine.describe()["kernels"]
            answers.append(answer)
        assert sum(n for name, n in kernels.items() if name.startswith("PackedLayer")) == count
        assert any(name.endswith("I8") for name in kernels)
    a, b = (answer / np.linalg.norm(answer, axis=1, keepdims=True) for answer in answers)
    assert (1 - (a * b).sum(axis=1)).max() <= 2e-3
