"""Our own attention for OpenVINO, against its definition in float64."""

import itertools
from collections.abc import Callable

import numpy as np
import openvino
import pytest

from xopt.engines.openvino import open_core
from xopt.engines.openvino_native import load_attention

LENGTHS = [1, 15, 16, 17, 33, 64, 130, 8, 3]


@pytest.fixture(scope="module")
def run() -> Callable[..., np.ndarray]:
    """Runs one of our operations."""
    native = load_attention(open_core())
    if native.factory is None:
        pytest.skip(native.reason)
    opset = openvino.opset13

    def call(
        name: str, arrays: list[np.ndarray], starts: np.ndarray, threads: int, **facts: float
    ) -> np.ndarray:
        inputs = [opset.parameter([-1, array.shape[1]], np.float32) for array in arrays]
        places = opset.parameter([-1], np.int32)
        node = native.factory.create(name, [*inputs, places], facts)
        model = openvino.Model([opset.result(node)], [*inputs, places], "one operation")
        config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = open_core().compile_model(model, "CPU", config)
        return np.array(compiled([*arrays, starts])[0])

    return call


@pytest.fixture(scope="module")
def attend(run: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def call(
        arrays: list[np.ndarray], starts: np.ndarray, heads: int, threads: int, whole: bool = False
    ) -> np.ndarray:
        return run("PackedAttention", arrays, starts, threads, heads=heads, scale=1.0, whole=whole)

    return call


def definition(arrays: list[np.ndarray], starts: np.ndarray, heads: int) -> np.ndarray:
    out = np.zeros(arrays[0].shape)
    for begin, end in itertools.pairwise(starts):
        for columns in np.split(np.arange(out.shape[1]), heads):
            q, k, v = (a[begin:end, columns].astype(np.float64) for a in arrays)
            scores = q @ k.T
            probs = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[begin:end, columns] = probs / probs.sum(axis=1, keepdims=True) @ v
    return out


@pytest.mark.parametrize("head_width", [16, 32, 48, 64])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_attention_is_its_definition(
    attend: Callable[..., np.ndarray], head_width: int, spread: float
) -> None:
    """Also with scores beyond what e^x can hold, and 5 rows that belong to no sentence."""
    generator = np.random.default_rng(0)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    shape = (int(starts[-1]) + 5, 3 * head_width)
    q, k, v = (generator.normal(0, spread, shape).astype(np.float32) for _ in range(3))
    found = attend([q, k, v], starts, 3, 2)
    # Scores of about 8 · spread² lose a few of float32's 24 bits.
    scale = max(1.0, spread**2 * head_width**0.5)
    assert np.abs(found - definition([q, k, v], starts, 3)).max() <= 1e-6 * scale * spread * 4
    assert not found[starts[-1] :].any()


@pytest.mark.parametrize("bits", [16, 30, 60])
def test_scores_without_end_choose_the_largest(
    attend: Callable[..., np.ndarray], bits: int
) -> None:
    """Whole numbers times a power of two: float32 holds every score, also beyond -1e30."""
    generator = np.random.default_rng(2)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    shape = (int(starts[-1]), 32)
    q, k = (generator.integers(1, 3, shape).astype(np.float32) * 2.0**bits for _ in range(2))
    v = generator.normal(0, 1, shape).astype(np.float32)
    for sign in (1, -1):
        arrays = [np.float32(sign) * q, k, v]
        found = attend(arrays, starts, 2, 2)
        assert np.abs(found - definition(arrays, starts, 2)).max() <= 1e-6
        # Every key alike: the mean, in steps of the largest value.
        arrays[1] = np.full_like(k, 2.0**bits)
        found = attend(arrays, starts, 2, 2, whole=True)
        assert np.abs(found - definition(arrays, starts, 2)).max() <= np.abs(v).max() / 2047


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_beyond_float32_are_no_numbers(
    attend: Callable[..., np.ndarray], sign: int, whole: bool
) -> None:
    """Not the answer of the slots behind the last key, and no other number either."""
    generator = np.random.default_rng(3)
    starts = np.array([0, 130, 263], np.int32)
    q, k = (generator.integers(1, 3, (263, 32)).astype(np.float32) * 2.0**62 for _ in range(2))
    v = generator.normal(0, 1, q.shape).astype(np.float32)
    assert np.isnan(attend([np.float32(sign) * q, k, v], starts, 2, 2, whole=whole)).all()
    # One sentence of them does not touch the other.
    k[130:] = 2.0**50
    found = attend([np.float32(sign) * q, k, v], starts, 2, 2, whole=whole)
    assert np.isnan(found[:130]).all()
    mean = v[130:].mean(axis=0, dtype=np.float64)
    assert np.abs(found[130:] - mean).max() <= np.abs(v).max() / 2047


LONG = [128, 333]
# From so many tokens on, products are sums of whole numbers.
WHOLE = 64


@pytest.mark.parametrize("head_width", [16, 32, 48, 64, 272])
@pytest.mark.parametrize("spread", [0.1, 2.0])
def test_whole_numbers_are_as_far_off_as_their_steps(
    attend: Callable[..., np.ndarray], head_width: int, spread: float
) -> None:
    """The bound follows from half a step of q, k, v and of the probabilities."""
    generator = np.random.default_rng(5)
    starts = np.concatenate(([0], np.cumsum([*LENGTHS, *LONG]))).astype(np.int32)
    shape = (int(starts[-1]) + 5, 2 * head_width)
    q, k, v = (generator.normal(0, spread, shape).astype(np.float32) for _ in range(3))
    q /= np.float32(head_width**0.5)
    exact = definition([q, k, v], starts, 2)
    found = attend([q, k, v], starts, 2, 2, whole=True)
    limit = np.floor(np.sqrt((2**31 - 1) / head_width)) - 1
    for begin, end in itertools.pairwise(starts):
        for columns in np.split(np.arange(shape[1]), 2):
            a, b, c = (np.abs(x[begin:end, columns]).astype(np.float64) for x in (q, k, v))
            step_q, step_k = a.max(axis=1) / limit, b.max(axis=1) / limit
            score = (
                np.outer(step_q, b.sum(axis=1)) + np.outer(a.sum(axis=1), step_k)
            ) / 2 + head_width * np.outer(step_q, step_k) / 4
            # Two probabilities' scores; then a probability's half step, beside a sum of 1 or more.
            weights = np.expm1(2 * score.max(axis=1)) + (end - begin) / 16383
            bound = np.outer(weights, c.max(axis=0)) + c.max(axis=0) / 2047
            off = np.abs(found - exact)[begin:end, columns]
            assert (off <= bound + 1e-5 * spread).all()
    assert not found[starts[-1] :].any()


@pytest.mark.parametrize("head_width", [16, 48, 64])
@pytest.mark.parametrize("column", [0, 5, 15])
def test_what_is_no_number_stays_none(
    attend: Callable[..., np.ndarray], head_width: int, column: int
) -> None:
    """In the row of q, in every row of a k, in the column of a v; and nowhere else."""
    generator = np.random.default_rng(7)
    starts = np.array([0, 70], np.int32)
    q, k, v = (generator.normal(size=(70, 2 * head_width)).astype(np.float32) for _ in range(3))
    plain = attend([q, k, v], starts, 2, 2, whole=True)
    lost = np.zeros_like(plain, bool), np.zeros_like(plain, bool), np.zeros_like(plain, bool)
    lost[0][3, :head_width] = True
    lost[1][:, :head_width] = True
    lost[2][:, column] = True
    for number, places in enumerate(lost):
        arrays = [q.copy(), k.copy(), v.copy()]
        arrays[number][3, column] = np.nan
        found = attend(arrays, starts, 2, 2, whole=True)
        np.testing.assert_array_equal(found, np.where(places, np.float32(np.nan), plain))


def test_rows_too_small_for_whole_numbers_count_as_zero(
    attend: Callable[..., np.ndarray],
) -> None:
    """Their factor is beyond float32; large keys would show what they became instead."""
    generator = np.random.default_rng(8)
    starts = np.array([0, 70], np.int32)
    q, k, v = (generator.normal(size=(70, 64)).astype(np.float32) for _ in range(3))
    found = attend([q * np.float32(1e-36), k * np.float32(1e30), v], starts, 2, 2, whole=True)
    zero = attend([np.zeros_like(q), k, v], starts, 2, 2, whole=True)
    np.testing.assert_array_equal(found, zero)


def test_whole_numbers_are_those_of_the_sentence_alone(attend: Callable[..., np.ndarray]) -> None:
    generator = np.random.default_rng(6)
    lengths = [*LENGTHS[:4], *LONG, *LENGTHS[4:], 0, 127, 200]
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    arrays = [generator.normal(size=(int(starts[-1]), 64)).astype(np.float32) for _ in range(3)]
    found = attend(arrays, starts, 2, 2, whole=True)
    plain = attend(arrays, starts, 2, 2, whole=False)
    differ = [bool((found[a:b] != plain[a:b]).any()) for a, b in itertools.pairwise(starts)]
    assert differ == [n >= WHOLE for n in lengths]
    for begin, end in itertools.pairwise(starts):
        if end > begin:
            own = np.array([0, end - begin], np.int32)
            alone = attend([x[begin:end] for x in arrays], own, 2, 1, whole=True)
            np.testing.assert_array_equal(alone, found[begin:end])
    # What no number can be made of stays in its sentence.
    arrays[1][starts[4]] = np.inf
    other = attend(arrays, starts, 2, 2, whole=True)
    np.testing.assert_array_equal(other[: starts[4]], found[: starts[4]])
    np.testing.assert_array_equal(other[starts[5] :], found[starts[5] :])


@pytest.mark.parametrize("head_width", [16, 48])
def test_one_projection_is_read_as_the_three_that_it_holds(
    run: Callable[..., np.ndarray], head_width: int
) -> None:
    generator = np.random.default_rng(3)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    joint = generator.normal(size=(int(starts[-1]) + 2, 9 * head_width)).astype(np.float32)
    scale = head_width**-0.5
    found = run("PackedAttention", [joint], starts, 2, heads=3, scale=scale, whole=False)
    q, k, v = np.split(joint, 3, axis=1)
    assert np.abs(found - definition([q * scale, k, v], starts, 3)).max() <= 1e-5
    assert not found[starts[-1] :].any()


@pytest.mark.parametrize("width", [16, 96])
def test_the_mean_is_that_of_the_sentence(run: Callable[..., np.ndarray], width: int) -> None:
    """Two sentences without a token at the end, and rows that belong to nobody."""
    generator = np.random.default_rng(4)
    starts = np.concatenate(([0], np.cumsum([*LENGTHS, 0, 0]))).astype(np.int32)
    x = generator.normal(1, 1, (int(starts[-1]) + 5, width)).astype(np.float32)
    found = run("PackedMean", [x], starts, 2)
    means = [x[a:b].astype(np.float64).mean(axis=0) for a, b in itertools.pairwise(starts) if b > a]
    assert np.abs(found[: len(LENGTHS)] - means).max() <= 1e-6
    assert found.shape == (len(LENGTHS) + 2, width)
    assert not found[len(LENGTHS) :].any()
    alone = run("PackedMean", [x[starts[6] : starts[7]]], np.array([0, LENGTHS[6]], np.int32), 1)
    np.testing.assert_array_equal(alone[0], found[6])


def test_threads_change_no_bit(attend: Callable[..., np.ndarray]) -> None:
    generator = np.random.default_rng(1)
    starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
    arrays = [generator.normal(size=(int(starts[-1]), 64)).astype(np.float32) for _ in range(3)]
    one, two = (attend(arrays, starts, 2, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
