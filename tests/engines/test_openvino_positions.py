"""Our own attention with windows, shared keys, and positions of each kind, against float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openvino
import pytest

from xopt.engines.openvino import open_core
from xopt.engines.openvino_attention import distance_inputs
from xopt.engines.openvino_heads import Attention, Distances
from xopt.engines.openvino_native import load_attention

LENGTHS = [1, 15, 16, 17, 33, 64, 130, 8, 333, 3]
HEADS, WIDTH = 4, 32


@dataclass(frozen=True)
class Case:
    """How tokens see each other."""

    kv_heads: int = HEADS
    window: int = -1
    rotated: bool = False
    values: bool = False
    whole: bool = False

    def arrays(self, seed: int, spread: float = 1.0) -> tuple[list[np.ndarray], np.ndarray]:
        """q, k, v, cosines and sines of some tokens, and where sentences start."""
        draw = np.random.default_rng(seed)
        starts = np.concatenate(([0], np.cumsum(LENGTHS))).astype(np.int32)
        tokens, keys = int(starts[-1]) + 5, self.kv_heads * WIDTH
        shapes = [(tokens, HEADS * WIDTH), (tokens, keys), (tokens, keys)]
        arrays = [draw.normal(0, spread, shape).astype(np.float32) for shape in shapes]
        if self.rotated:
            angles = draw.uniform(-3, 3, (tokens, WIDTH // 2))
            both = np.concatenate([angles, angles], axis=1)
            arrays += [np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)]
        return arrays, starts

    def definition(self, arrays: list[np.ndarray], starts: np.ndarray) -> np.ndarray:
        """In float64."""
        q, k, v, *turn = (array.astype(np.float64) for array in arrays)
        out = np.zeros(q.shape)
        for begin, end in itertools.pairwise(starts):
            rows = np.arange(end - begin)
            hidden = np.abs(rows[:, None] - rows) > self.window if self.window >= 0 else None
            for head in range(HEADS):
                shared = head * self.kv_heads // HEADS
                mine = [
                    array[begin:end, one * WIDTH : (one + 1) * WIDTH]
                    for array, one in ((q, head), (k, shared), (v, shared))
                ]
                for number in range(2 + self.values) if self.rotated else ():
                    cosine, sine = (table[begin:end] for table in turn)
                    x = mine[number]
                    across = np.concatenate([-x[:, WIDTH // 2 :], x[:, : WIDTH // 2]], axis=1)
                    mine[number] = x * cosine + across * sine
                scores = mine[0] @ mine[1].T * WIDTH**-0.5
                if hidden is not None:
                    scores[hidden] = -np.inf
                probs = np.exp(scores - scores.max(axis=1, keepdims=True))
                columns = slice(head * WIDTH, (head + 1) * WIDTH)
                out[begin:end, columns] = probs / probs.sum(axis=1, keepdims=True) @ mine[2]
        return out


CASES = [
    Case(window=0),
    Case(window=1),
    Case(window=16),
    Case(window=63),
    Case(window=1000),
    Case(kv_heads=2),
    Case(kv_heads=1, window=20),
    Case(rotated=True),
    Case(rotated=True, values=True),
    Case(kv_heads=2, window=31, rotated=True, values=True),
]


@pytest.fixture(scope="module")
def attend() -> Callable[..., np.ndarray]:
    native = load_attention(open_core())
    if native.factory is None:
        pytest.skip(native.reason)
    opset = openvino.opset13

    def call(
        case: Case, arrays: list[np.ndarray], starts: np.ndarray, threads: int = 2
    ) -> np.ndarray:
        inputs = [opset.parameter([-1, array.shape[1]], np.float32) for array in arrays]
        places = opset.parameter([-1], np.int32)
        facts = {
            "heads": HEADS, "kv_heads": case.kv_heads, "scale": WIDTH**-0.5, "whole": case.whole,
            "window": case.window, "positions": case.rotated + case.values,
        }  # fmt: skip
        node = native.factory.create("PackedAttention", [*inputs, places], facts)
        model = openvino.Model([opset.result(node)], [*inputs, places], "attention")
        config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = open_core().compile_model(model, "CPU", config)
        return np.array(compiled([*arrays, starts])[0])

    return call


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_is_its_definition(attend: Callable[..., np.ndarray], case: Case) -> None:
    arrays, starts = case.arrays(0)
    found = attend(case, arrays, starts)
    # Sums of 32 products of about 1: 2^-24 of them, a few times over.
    assert np.abs(found - case.definition(arrays, starts)).max() <= 4e-6
    assert not found[starts[-1] :].any()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whole_numbers_are_as_far_off_as_their_steps(
    attend: Callable[..., np.ndarray], case: Case
) -> None:
    """Half a step of 2^13 in q and k and of 2^11 in v, of values up to about 5 (7 rotated)."""
    arrays, starts = case.arrays(1)
    whole = Case(case.kv_heads, case.window, case.rotated, case.values, whole=True)
    found, exact = attend(whole, arrays, starts), case.definition(arrays, starts)
    largest = 2**0.5 * max(float(np.abs(array).max()) for array in arrays[:3])
    limit = np.floor(np.sqrt((2**31 - 1) / WIDTH)) - 1
    # Of a score: what half a step of each of both factors makes of 32 products.
    score = WIDTH**-0.5 * WIDTH * largest * largest / limit
    bound = largest * (np.expm1(2 * score) + 333 / 16383 / 2) + largest / 2047
    assert np.abs(found - exact).max() <= bound
    plain = attend(case, arrays, starts)
    differ = [bool((found[a:b] != plain[a:b]).any()) for a, b in itertools.pairwise(starts)]
    assert differ == [length >= 64 for length in LENGTHS]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("case", [CASES[3], CASES[-1]], ids=str)
def test_a_sentence_alone_has_the_same_bits(
    attend: Callable[..., np.ndarray], case: Case, whole: bool
) -> None:
    case = Case(case.kv_heads, case.window, case.rotated, case.values, whole)
    arrays, starts = case.arrays(2)
    found = attend(case, arrays, starts)
    for begin, end in itertools.pairwise(starts):
        own = np.array([0, end - begin], np.int32)
        alone = attend(case, [array[begin:end] for array in arrays], own, threads=1)
        np.testing.assert_array_equal(alone, found[begin:end])


@pytest.mark.parametrize("whole", [False, True])
def test_what_no_row_sees_changes_nothing(attend: Callable[..., np.ndarray], whole: bool) -> None:
    """Keys and values at one end of a sentence, for rows that are far from it."""
    case = Case(window=20, whole=whole)
    arrays, starts = case.arrays(3)
    found = attend(case, arrays, starts)
    begin, end = starts[8], starts[9]
    changed = [array.copy() for array in arrays]
    # Not larger than the largest, against which whole numbers are rounded.
    for array in changed[1:3]:
        array[end - 1] = 0
    other = attend(case, changed, starts)
    np.testing.assert_array_equal(other[begin : end - 21], found[begin : end - 21])
    assert (other[end - 21 : end] != found[end - 21 : end]).any(axis=1).all()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("terms", ["queries", "keys", "both"])
def test_scores_that_depend_on_distances_are_their_definition(terms: str, whole: bool) -> None:
    """Rows of a table by distance, the last ones shared, more of them than 16 but no multiple."""
    native = load_attention(open_core())
    if native.factory is None:
        pytest.skip(native.reason)
    case, most, reach = Case(), 400, 21
    (q, k, v), starts = case.arrays(5)
    draw = np.random.default_rng(6)
    # Of the distances key - query from 1 - most on: they fall.
    rows = np.clip(reach - np.arange(1 - most, most + 1), 0, 2 * reach).astype(np.int32)
    shape = (2 * reach + 1, HEADS * WIDTH)
    tables = [draw.normal(0, 1, shape).astype(np.float32) for _ in range(2)]
    given = [table if terms in (name, "both") else None
             for name, table in zip(("queries", "keys"), tables, strict=True)]  # fmt: skip
    opset = openvino.opset13
    inputs = [opset.parameter([-1, HEADS * WIDTH], np.float32) for _ in range(3)]
    places = opset.parameter([-1], np.int32)
    scale = WIDTH**-0.5
    scaled = None if given[1] is None else given[1] * np.float32(scale)
    distances = Distances(given[0], scaled, rows)
    attention = Attention([], HEADS, HEADS, scale, False, None, distances=distances)
    more = distance_inputs(opset, attention)
    facts = {"heads": HEADS, "scale": scale, "whole": whole, "positions": 3}
    node = native.factory.create("PackedAttention", [*inputs, *more, places], facts)
    model = openvino.Model([opset.result(node)], [*inputs, places], "attention")
    config = {"INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"}
    found = open_core().compile_model(model, "CPU", config)([q, k, v, starts])[0]
    exact = np.zeros(q.shape)
    for begin, end in itertools.pairwise(starts):
        place = np.arange(end - begin)
        apart = rows[place - place[:, None] + most - 1]
        for columns in np.split(np.arange(HEADS * WIDTH), HEADS):
            a, b, c = (array[begin:end, columns].astype(np.float64) for array in (q, k, v))
            scores = a @ b.T
            if given[0] is not None:
                scores += np.einsum("id,ijd->ij", a, tables[0][:, columns][apart].astype(float))
            if given[1] is not None:
                scores += np.einsum("jd,ijd->ij", b, tables[1][:, columns][apart].astype(float))
            scores *= scale
            probs = np.exp(scores - scores.max(axis=1, keepdims=True))
            exact[begin:end, columns] = probs / probs.sum(axis=1, keepdims=True) @ c
    # Without whole numbers: sums of 32 products, of which those of keys are about 6 each. With
    # them: half a step of q, k (2^13) and v (2^11), as above.
    bound = 2e-5
    if whole:
        tops = [float(np.abs(array).max()) for array in (q, k, v)]
        limit = np.floor(np.sqrt((2**31 - 1) / WIDTH)) - 1
        score = scale * WIDTH * tops[0] * tops[1] / limit
        bound += tops[2] * (np.expm1(2 * score) + 333 / 16383 / 2) + tops[2] / 2047
    assert np.abs(found - exact).max() <= bound
    assert not found[starts[-1] :].any()
