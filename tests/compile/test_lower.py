import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file, save_file
from tests.rounding import MARGIN, calibrated_batch, distance, rounding_error

from xopt import hashing
from xopt.artifacts import Graph, LoweredGraph, Ranges
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.calibrate.sites import read_sites
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph, lowered_fingerprint
from xopt.compile.lower_openvino import AffineLowerer, movable
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.compile.trace import trace_checkpoint
from xopt.encoders.plan import plan
from xopt.encoders.spec import Block, EncoderSpec, Norm
from xopt.errors import InputError, UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]
LINEAR = ("q", "k", "v", "attention_output", "ffn_in", "ffn_out")


def encoder(block: Block) -> EncoderSpec:
    """Of one layer."""
    return EncoderSpec("any", 8, 2, 2, 4, 16, 9, 5, 0, 0, 5, 8, Norm(1e-5), (block,))


def lowered(
    folder: Path, precision: str, alpha: float = 0.8
) -> tuple[Checkpoint, Graph, LoweredGraph]:
    checkpoint = Checkpoint.open(folder)
    graph = trace_checkpoint(checkpoint)
    ranges = calibrated(checkpoint, graph, folder, alpha) if precision == "int8" else None
    lowering = lowering_for("openvino", precision)
    return checkpoint, graph, lower_graph(graph, lowering, ranges, checkpoint=checkpoint)


def calibrated(checkpoint: Checkpoint, graph: Graph, folder: Path, alpha: float) -> Ranges:
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
    return calibrate(
        PackedEncoder.load(checkpoint),
        graph.fingerprint,
        draw_sample(load_corpus(), tokenizer, max_tokens=3000),
        CalibrationRecipe("minmax", alpha=alpha, levels=127),
        first_position=checkpoint.config.first_position,
    )


def ragged(first_position: int) -> PackedBatch:
    generator = np.random.default_rng(3)
    items = [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in (3, 17, 8)
    ]
    return pack(items, first_position=first_position)


def linear_sizes(checkpoint: Checkpoint) -> tuple[int, int]:
    """Weights, and rows of them, in the linear layers of the encoder."""
    layers = PackedEncoder.skeleton(checkpoint).layers.modules()
    found = [part.weight.shape for part in layers if isinstance(part, torch.nn.Linear)]
    return sum(rows * columns for rows, columns in found), sum(rows for rows, _ in found)


def stored_bytes(path: Path) -> int:
    """Of all constants of a graph."""
    constants = onnx.load(path, load_external_data=False).graph.initializer
    sizes = [onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize for t in constants]
    return sum(int(np.prod(t.dims)) * n for t, n in zip(constants, sizes, strict=True))


def evaluate(path: Path, inputs: list[str], batch: PackedBatch) -> np.ndarray:
    """onnx's own reference implementation, independent of every engine."""
    feed = {name: batch.arrays()[name] for name in inputs}
    answer: np.ndarray = ReferenceEvaluator(str(path)).run(None, feed)[0]
    return answer


@pytest.mark.parametrize("alpha", [0.0, 0.8])
@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta"])
def test_int8_stays_close_to_fp32(make_checkpoint: Factory, model_type: str, alpha: float) -> None:
    checkpoint, graph, small = lowered(make_checkpoint(model_type, "tag"), "int8", alpha)
    batch = calibrated_batch(checkpoint)
    inputs = graph.manifest["inputs"]
    exact = evaluate(graph.path, inputs, batch)
    close = evaluate(small.path, inputs, batch)
    assert distance(close, exact) <= MARGIN * rounding_error(checkpoint, batch, "int8")
    weights, rows = linear_sizes(checkpoint)
    # Three of the four bytes of a weight go; a row gets no more than four numbers of fp32.
    assert stored_bytes(small.path) <= stored_bytes(graph.path) - 3 * weights + 16 * rows


def test_every_linear_layer_is_int8_and_nothing_else(make_checkpoint: Factory) -> None:
    _, _, small = lowered(make_checkpoint("xlm-roberta", "classify"), "int8")
    model = onnx.load(small.path)
    weights = [t for t in model.graph.initializer if t.name.endswith("weight.int8")]
    # Six products a layer (q, k, v apart), and the word embeddings.
    assert len(weights) == 2 * 6 + 1
    quantized = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert len(quantized) == 2 * 4
    zero_points = {t.name: t for t in model.graph.initializer}
    for node in quantized:
        zero = onnx.numpy_helper.to_array(zero_points[node.input[2]])
        assert zero.dtype == np.uint8
        # A GELU gives little below 0; what is moved to its middle has 0 there.
        assert (zero < 100) if ".ffn_act." in node.input[2] else (100 < zero < 156)
    floats = [t for t in model.graph.initializer if t.name.startswith("head.")]
    assert all(t.data_type == onnx.TensorProto.FLOAT for t in floats)
    assert {node.domain for node in model.graph.node} == {""}


def test_middles_leave_with_the_norms_and_come_back(
    make_checkpoint: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers where the middle is subtracted before each quantization."""
    folder = make_checkpoint("roberta", "tag", seed=2)
    _, graph, free = lowered(folder, "int8")
    batch, inputs = ragged(2), graph.manifest["inputs"]
    answer = evaluate(free.path, inputs, batch)
    assert not any(n.op_type == "Sub" for n in onnx.load(free.path).graph.node)
    monkeypatch.setattr(AffineLowerer, "_move", lambda *arguments: None)
    monkeypatch.setenv("XOPT_CACHE", str(folder / "another-cache"))
    _, _, plain = lowered(folder, "int8")
    subtracted = [n for n in onnx.load(plain.path).graph.node if n.op_type == "Sub"]
    assert len(subtracted) == 2 * 2
    exact = evaluate(graph.path, inputs, batch)
    other = evaluate(plain.path, inputs, batch)
    # Rounding may fall to the other side where a value lies between two steps: fp32's last bits are
    # 127 * 2**-24 of a step, of all that a sum adds up; 12 times as much in squares, at 8 sites.
    allowed = (8 * 12 * 2 * 127 * 64**0.5 * 2**-24) ** 0.5
    assert np.linalg.norm(answer - other) <= allowed * np.linalg.norm(answer - exact)


def test_layers_of_like_weights_are_told_apart(make_checkpoint: Factory) -> None:
    """The exporter makes one constant of small ones that are equal; ranges are each layer's own."""
    folder = make_checkpoint("xlm-roberta", "tag", seed=6, hidden_size=32, num_attention_heads=2)
    tensors = load_file(folder / "model.safetensors")
    first = {name: value for name, value in tensors.items() if ".layer.0." in name}
    tensors |= {
        name.replace(".layer.0.", ".layer.1."): value.clone() for name, value in first.items()
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    checkpoint, graph, small = lowered(folder, "int8")
    names = {tensor.name for tensor in onnx.load(small.path).graph.initializer}
    weights = {f"layers.{n}.{part}.weight.int8" for n in range(2) for part in LINEAR}
    assert weights <= names
    batch = calibrated_batch(checkpoint)
    exact, close = (evaluate(p, graph.manifest["inputs"], batch) for p in (graph.path, small.path))
    assert distance(close, exact) <= MARGIN * rounding_error(checkpoint, batch, "int8")


def test_a_middle_moves_where_the_norm_is_read_by_nothing_else() -> None:
    """By hand, of the blocks' drawings in each family's own paper."""
    norm, half = Norm(1e-5), Norm(1e-5, "rms", bias=False)
    post, pre = (
        {"layers.0.qkv_in": found}
        for found in (
            ("embeddings.norm", "layers.0.attention_output"),
            ("layers.0.attention_norm", None),
        )
    )
    post["layers.0.ffn_in"] = "layers.0.attention_norm", "layers.0.ffn_out"
    pre["layers.0.ffn_in"] = "layers.0.ffn_norm", None
    assert movable(plan(encoder(Block("post", norm, norm)))) == post
    assert movable(plan(encoder(Block("pre", norm, norm)))) == pre
    # ModernBERT's first layer: what it reads is the embeddings' norm, and goes on to the residual.
    first = post | {"layers.0.ffn_in": pre["layers.0.ffn_in"]}
    assert movable(plan(encoder(Block("pre", None, norm)))) == first
    assert movable(plan(encoder(Block("pre", half, half)))) == {}
    # Another norm stands between a part and its residual.
    assert movable(plan(encoder(Block("both", norm, norm)))) == pre


def test_a_bias_takes_back_what_rounding_moved(make_checkpoint: Factory) -> None:
    """Means over the calibration sample, where everything before the layer is exact."""
    folder = make_checkpoint("bert", "tag", seed=4)
    checkpoint = Checkpoint.open(folder)
    ranges = calibrated(checkpoint, trace_checkpoint(checkpoint), folder, 0.8)
    seen: dict[str, np.ndarray] = {}
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
    sample = draw_sample(load_corpus(), tokenizer, max_tokens=3000)
    model = PackedEncoder.load(checkpoint)
    model.run(
        pack(sample.encodings, first_position=0),
        watch=lambda site, tensor: seen.update({site: tensor.double().numpy()}),
    )
    sites = [site for site in read_sites(ranges).values() if site.limits is not None]
    assert len(sites) == 2 * 4
    for found in sites:
        site, how, layer = found.name, found.affine, found.rounded
        assert layer is not None
        q = np.round((seen[site] - how.middle) / how.divisor / how.step) + how.zero
        assert -1 <= q.min() <= q.max() <= 256
        q = q.clip(0, 255)
        assert np.abs(layer.values.astype(int)).max() <= 127
        product = (q - how.zero) @ (layer.values * layer.scales[:, None]).T * how.step
        wanted = (seen[site] @ model.weight(site).T).mean(axis=0)
        np.testing.assert_allclose((product + layer.correction).mean(axis=0), wanted, atol=2e-4)


def test_fp16_halves_the_linear_weights(make_checkpoint: Factory) -> None:
    checkpoint, graph, small = lowered(make_checkpoint("bert", "tag"), "fp16")
    batch = ragged(checkpoint.config.first_position)
    inputs = graph.manifest["inputs"]
    exact, close = (evaluate(p, inputs, batch) for p in (graph.path, small.path))
    assert distance(close, exact) <= MARGIN * rounding_error(checkpoint, batch, "fp16")
    weights, _ = linear_sizes(checkpoint)
    assert stored_bytes(small.path) <= stored_bytes(graph.path) - 2 * weights


def test_a_table_below_the_numbers_of_fp16_stays_as_it_is(make_checkpoint: Factory) -> None:
    """The norm behind it makes them as large as any others."""
    folder = make_checkpoint("bert", "tag", layer_norm_eps=1e-25)
    tensors = load_file(folder / "model.safetensors")
    tables = {name: value * 1e-9 for name, value in tensors.items() if "_embeddings." in name}
    assert len(tables) == 3
    save_file(tensors | tables, folder / "model.safetensors", {"format": "pt"})
    checkpoint, graph, small = lowered(folder, "fp16")
    batch, inputs = ragged(0), graph.manifest["inputs"]
    exact, close = (evaluate(p, inputs, batch) for p in (graph.path, small.path))
    weights, _ = linear_sizes(checkpoint)
    # Of fp16's own rounding: 11 bits, in two layers.
    assert 0 < np.abs(close - exact).max() <= 0.01 * np.abs(exact).max()
    assert stored_bytes(small.path) <= stored_bytes(graph.path) - 2 * weights


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(-1000, 1000, width=32),
    )
)
def test_rows_are_rounded_to_the_nearest_step(values: np.ndarray) -> None:
    quantized, scales = quantize_rows(values)
    assert quantized.dtype == np.int8
    assert np.abs(quantized.astype(int)).max(initial=0) <= 127
    restored = quantized * scales[:, None]
    assert (np.abs(restored - values) <= scales[:, None] * 0.5001 + 1e-30).all()


def test_what_a_target_cannot_do_is_explained() -> None:
    with pytest.raises(InputError, match="Unknown precision 'int4'"):
        lowering_for("openvino", "int4")
    with pytest.raises(UnsupportedError, match="has no precision fp16") as caught:
        lowering_for("null", "fp16")
    assert "fp32, int8" in caught.value.hint


def test_a_changed_source_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(hashing.source_digest.cache_clear)

    def key() -> str:
        hashing.source_digest.cache_clear()
        return lowered_fingerprint("graph", lowering_for("openvino", "int8"), "ranges")

    before = key()
    for room in ("encoders", "calibrate", "compile"):
        shutil.copytree(hashing.PACKAGE / room, tmp_path / room)
    monkeypatch.setattr(hashing, "PACKAGE", tmp_path)
    assert key() == before
    for changed in ("compile/lower_openvino.py", "calibrate/quantized.py"):
        with (tmp_path / changed).open("a") as stream:
            stream.write("\nSTEPS = 254\n")
        assert key() != before
        before = key()
