"""The profiled CPU engine: what is counted, where it is put, and that it answers the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from xopt.artifacts import Bundle
from xopt.compile.build import BuildOptions, build_bundle
from xopt.engines.openvino import OpenVinoEngine
from xopt.engines.openvino_profile import ProfiledOpenVinoEngine, classify, places_of
from xopt.evaluate.work import work_batch

Factory = Callable[..., Path]
# Typed as of another class than the one that it is made by.
Model: Any = openvino.Model


@pytest.fixture(scope="module")
def bundle(make_checkpoint: Factory, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    checkpoint = str(make_checkpoint("xlm-roberta", "embed"))
    out = str(tmp_path_factory.mktemp("profile") / "bundle")
    options = BuildOptions(checkpoint=checkpoint, precision="fp32", out=out)
    return build_bundle(options, record=False).bundle


@pytest.mark.parametrize("own_attention", [True, False])
def test_it_counts_without_another_answer(bundle: Bundle, own_attention: bool) -> None:
    with (
        OpenVinoEngine(bundle, threads=2, own_attention=own_attention) as plain,
        ProfiledOpenVinoEngine(bundle, threads=2, own_attention=own_attention) as counting,
    ):
        facts = plain.signature
        batch = work_batch(
            [60, 33, 70, 12], first_position=facts.first_position, vocabulary=facts.vocabulary
        )
        found = counting.profile([batch], repeat=4)
        [expected], [answer] = plain.run(batch).values(), counting.run(batch).values()
        np.testing.assert_array_equal(answer, expected)
    assert found.runs == 4
    # No stream is busy for longer than there is time, but for the counters' whole microseconds.
    spent = sum(op.seconds for op in found.operations)
    assert 0 < spent <= found.stream_s + 5e-6 * len(found.operations)
    kinds = found.by_place()
    assert list(kinds) == ["embeddings", "0", "1", "head"]
    for number in ("0", "1"):
        assert {"products", "attention", "norms"} <= set(kinds[number])
    linear = {op.name for op in found.operations if op.kind == "products" and op.place == "0"}
    # Queries, keys and values are one or three; the others are three.
    assert len(linear) in (4, 6)


def test_what_was_there_before_is_not_counted(bundle: Bundle) -> None:
    """The counters hold all runs; a profile of a small batch knows nothing of a large one."""
    with ProfiledOpenVinoEngine(bundle, threads=1) as counting:
        facts = counting.signature
        large, small = (
            work_batch(n, first_position=facts.first_position, vocabulary=facts.vocabulary)
            for n in ([90] * 40, [4])
        )
        counting.profile([large], repeat=6)
        found = counting.profile([small], repeat=12)
        spent = sum(op.seconds for op in found.operations)
    assert spent <= found.stream_s + 5e-6 * len(found.operations)


def test_a_layer_is_told_by_its_weights(bundle: Bundle) -> None:
    with OpenVinoEngine(bundle) as engine:
        places = places_of(engine._read(), 2)
    assert set(places.values()) == {-1, 0, 1, 2}
    for name, place in places.items():
        for layer in (0, 1):
            if name.startswith(f"layers.{layer}."):
                assert place == layer


def test_the_last_layer_ends_with_its_last_weight() -> None:
    """Also where weights are made of integers, and what follows has no weight of its own."""
    opset = openvino.opset13
    value = start = opset.parameter([-1, 4], np.float32, name="x")
    for layer in (0, 1):
        codes = opset.constant(np.ones((4, 4), np.int8))
        codes.set_friendly_name(f"layers.{layer}.ffn_out.weight.int8")
        weight = opset.multiply(opset.convert(codes, np.float32), np.float32(0.5))
        value = opset.matmul(value, weight, False, False)
        value.set_friendly_name(f"product {layer}")
    last = opset.relu(value)
    last.set_friendly_name("pooled")
    found = places_of(Model([opset.result(last)], [start], "two layers"), 2)
    assert (found["x"], found["product 0"], found["product 1"], found["pooled"]) == (-1, 0, 1, 2)


@pytest.mark.parametrize(
    ("layer_type", "types", "weights", "kind"),
    [
        ("FullyConnected", {"MatMul"}, True, "products"),
        ("MatMul", {"MatMul"}, False, "attention"),
        ("Subgraph", {"MatMul", "Softmax"}, False, "attention"),
        ("Reference", {"PackedAttention"}, False, "attention"),
        ("ScaledDotProductAttention", set(), False, "attention"),
        ("MVN", set(), True, "norms"),
        ("Gather", {"Gather"}, True, "gathers"),
        ("Eltwise", {"Add"}, True, "elementwise"),
        ("FakeQuantize", set(), True, "elementwise"),
    ],
)
def test_kinds(layer_type: str, types: set[str], weights: bool, kind: str) -> None:
    assert classify(layer_type, types, weights=weights) == kind
