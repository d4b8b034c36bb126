"""Our own attention and OpenVINO's, in the CPU engine."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from tests.engines.cpu_batches import answer, sentences

from xopt.engines.openvino import OpenVinoEngine


def gathers(engine: OpenVinoEngine, *, dense: bool) -> int:
    program = engine._compile(dense, 1).model
    kinds = [
        node.get_rt_info()["layerType"].astype(str)
        for node in program.get_runtime_model().get_ordered_ops()
    ]
    return kinds.count("Gather")


def test_a_dense_batch_pays_for_no_gather(engines: dict[tuple[str, str], OpenVinoEngine]) -> None:
    engine = OpenVinoEngine(engines["embed", "fp32"].bundle, own_attention=False)
    # One joint projection in, one context out, in each of two layers, and one to pool.
    assert gathers(engine, dense=False) - gathers(engine, dense=True) == 2 * 2 + 1


@pytest.fixture(scope="module")
def packed(
    engines: dict[tuple[str, str], OpenVinoEngine],
) -> dict[tuple[str, str], OpenVinoEngine]:
    """Engines with our own attention."""
    reasons = [e.attention for e in engines.values() if e.packed_model is None]
    if reasons:
        pytest.skip(reasons[0])
    return engines


@pytest.fixture(scope="module")
def padded(
    engines: dict[tuple[str, str], OpenVinoEngine],
) -> Iterator[dict[tuple[str, str], OpenVinoEngine]]:
    """Engines with OpenVINO's attention."""
    opened = {
        key: OpenVinoEngine(engine.bundle, threads=2, own_attention=False)
        for key, engine in engines.items()
    }
    yield opened
    for engine in opened.values():
        engine.close()


# With OpenVINO's attention fp32 differs within 1e-5.
SAME_BITS = [("packed", "fp32"), ("packed", "int8"), ("padded", "int8")]


@pytest.mark.parametrize(("form", "precision"), SAME_BITS)
@pytest.mark.parametrize("head", ["embed", "tag"])
def test_an_answer_has_the_same_bits_alone_and_in_any_batch(
    request: pytest.FixtureRequest, form: str, head: str, precision: str
) -> None:
    engine = request.getfixturevalue(form)[head, precision]
    lengths = np.random.default_rng(2).integers(1, 129, 400).tolist()
    items = sentences(lengths, 3)
    alone = np.concatenate([answer(engine, [one]) for one in items])
    for size in (7, 64, 400):
        starts = range(0, len(items), size)
        together = np.concatenate([answer(engine, items[at : at + size]) for at in starts])
        np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("form", ["packed", "padded"])
def test_no_text_of_two_thousand_changes_with_its_batch(
    request: pytest.FixtureRequest, form: str
) -> None:
    """With sums over padding up to the longest of a batch about one in two hundred did."""
    engine = request.getfixturevalue(form)["embed", "int8"]
    draw = np.random.default_rng(4)
    items = sentences(draw.integers(1, 65, 2000).tolist(), 5)
    alone = np.concatenate([answer(engine, [one]) for one in items])
    order = draw.permutation(2000)
    together = np.empty_like(alone)
    for at, end in pairwise([0, *np.unique(draw.integers(1, 2000, 40)), 2000]):
        mates = order[at:end]
        together[mates] = answer(engine, [items[i] for i in mates])
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize(
    ("head", "precision", "fewer"),
    [
        # In each of two layers three projections in and one context out; and the one to pool.
        ("tag", "int8", 2 * 4),
        ("embed", "int8", 2 * 4 + 1),
        # One joint projection.
        ("tag", "fp32", 2 * 2),
        ("embed", "fp32", 2 * 2 + 1),
    ],
)
def test_own_attention_gathers_nothing(
    packed: dict[tuple[str, str], OpenVinoEngine], head: str, precision: str, fewer: int
) -> None:
    own = packed[head, precision]
    padded = OpenVinoEngine(own.bundle, own_attention=False)
    assert gathers(padded, dense=False) - gathers(own, dense=False) >= fewer
    assert not {"pad_index", "unpad_index", "attention_bias"} & {*own._compiled((False, 1)).inputs}
