"""TensorRT-RTX engines, really built, without a GPU: what fuses, and every way to spoil it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from xopt.artifacts import LoweredGraph
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.compile.sources import PIP_E5, locate
from xopt.compile.tensorrt_inputs import INPUTS
from xopt.compile.trace import trace_checkpoint
from xopt.engines.base import open_engine
from xopt.engines.tensorrt import builder, rtx
from xopt.engines.tensorrt.child import run_child
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.engines.tensorrt.graph import check_graph, graph_inputs
from xopt.engines.tensorrt.listing import (
    Kernel,
    Listing,
    UnfusedError,
    chosen_kernels,
    read_alphas,
    read_log,
    read_padded_lengths,
)
from xopt.engines.tensorrt.network import Request
from xopt.engines.tensorrt.options import RtxOptions, TensorRtOptions
from xopt.engines.tensorrt.profiles import LengthProfile, choose_profile, plan_profiles
from xopt.errors import BuildError, CheckpointError, InputError, UnsupportedError
from xopt.packing import Encoding, pack
from xopt.progress import Silent
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]
Spoil = Callable[[onnx.ModelProto], None]

needs_rtx = pytest.mark.skipif(
    not rtx.is_installed(), reason="no TensorRT: tensorrt-rtx is not installed"
)


class Given:
    """A build whose graph is lowered already."""

    lengths = ()

    def __init__(self, lowered: LoweredGraph) -> None:
        self.lowered = lowered

    def lower(self, **changes: Any) -> LoweredGraph:
        return self.lowered


def lower_int8(folder: Path) -> LoweredGraph:
    """The INT8 graph of a small checkpoint."""
    checkpoint = Checkpoint.open(folder)
    graph = trace_checkpoint(checkpoint)
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
    ranges = calibrate(
        PackedEncoder.load(checkpoint),
        graph.fingerprint,
        draw_sample(load_corpus(), tokenizer, max_tokens=1000),
        CalibrationRecipe("minmax", alpha=0.8),
        first_position=checkpoint.config.first_position,
    )
    return lower_graph(graph, lowering_for("tensorrt-rtx", "int8"), ranges)


def spoiled(lowered: LoweredGraph, folder: Path, spoil: Spoil) -> Path:
    """A changed copy of the graph, its weights inside."""
    model = onnx.load(lowered.path)
    spoil(model)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "graph.onnx"
    onnx.save(model, path)
    return path


def scale_per_channel(model: onnx.ModelProto) -> None:
    """One product as other exporters write it: a scale for each column in its DequantizeLinear."""
    tensors = {t.name: t for t in model.graph.initializer}
    name = "layers.1.ffn_in.weight"
    ratio = numpy_helper.to_array(tensors[name + ".ratio"])
    step = numpy_helper.to_array(tensors[name + ".scale"])
    zero = np.zeros(len(ratio), np.int8)
    tensors[name + ".scale"].CopyFrom(numpy_helper.from_array(ratio * step, name + ".scale"))
    tensors[name + ".zero"].CopyFrom(numpy_helper.from_array(zero, name + ".zero"))
    tensors[name + ".ratio"].CopyFrom(numpy_helper.from_array(np.ones_like(ratio), name + ".ratio"))
    for node in model.graph.node:
        if node.output[0] == name + ".dequantized":
            node.attribute.append(helper.make_attribute("axis", 1))


def keep_in_fp16(model: onnx.ModelProto) -> None:
    """One product as it was before it was quantized."""
    tensors = {t.name: t for t in model.graph.initializer}
    nodes = {n.output[0]: n for n in model.graph.node}
    product = nodes["layers.1.ffn_in.matmul"]
    weight, quantize = nodes[product.input[1]], nodes[nodes[product.input[0]].input[0]]
    levels, step = (numpy_helper.to_array(tensors[name]) for name in weight.input[:2])
    values = (levels * step.astype(np.float32)).astype(np.float16)
    model.graph.initializer.append(numpy_helper.from_array(values, "fp16.weight"))
    product.input[:] = [quantize.input[0], "fp16.weight"]
    for node in (weight, nodes["layers.1.ffn_in.dq"], quantize):
        model.graph.node.remove(node)


def rename_mask_axes(model: onnx.ModelProto) -> None:
    """A mask whose sizes are not known to be the index's."""
    for value in model.graph.input:
        if value.name == "attention_bias":
            dims = value.type.tensor_type.shape.dim
            dims[0].dim_param, dims[3].dim_param = "B2", "S2"


def swap_mask_axes(model: onnx.ModelProto) -> None:
    """Known names in the wrong places."""
    for value in model.graph.input:
        if value.name == "attention_bias":
            dims = value.type.tensor_type.shape.dim
            dims[0].dim_param, dims[3].dim_param = "S", "B"


def gather_rows(model: onnx.ModelProto) -> None:
    """One GatherND as a Gather."""
    node = next(n for n in model.graph.node if n.name == "layers.0.q.padded")
    node.op_type = "Gather"
    node.attribute.append(helper.make_attribute("axis", 0))


def add_plugin(model: onnx.ModelProto) -> None:
    """A node that only a plugin could compute."""
    model.opset_import.append(helper.make_opsetid("xopt", 1))
    output = model.graph.output[0]
    last = next(n for n in model.graph.node if n.output[0] == output.name)
    last.output[0] = "before.plugin"
    model.graph.node.append(
        helper.make_node("VarlenAttention", ["before.plugin"], [output.name], domain="xopt")
    )


def plugin_node() -> onnx.NodeProto:
    return helper.make_node("VarlenAttention", ["x"], ["y"], domain="xopt")


def add_plugin_in_branch(model: onnx.ModelProto) -> None:
    """A plugin two branches deep."""
    body = helper.make_graph([plugin_node()], "inner", [], [])
    for name in ("middle", "outer"):
        node = helper.make_node("If", ["yes"], [name], then_branch=body, else_branch=body)
        body = helper.make_graph([node], name, [], [])
    model.graph.node.append(body.node[0])


def add_plugin_in_function(model: onnx.ModelProto) -> None:
    """A plugin in a function of the model."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("xopt", 1)]
    function = helper.make_function("local", "F", ["x"], ["y"], [plugin_node()], opsets)
    model.functions.append(function)


def split_projection(model: onnx.ModelProto) -> None:
    """Query, key and value of one layer as three products."""
    tensors = {t.name: t for t in model.graph.initializer}
    nodes = {n.output[0]: n for n in model.graph.node}
    name = "layers.0.qkv"
    weight = numpy_helper.to_array(tensors[name + ".weight.int8"])
    ratio = numpy_helper.to_array(tensors[name + ".weight.ratio"])
    bias = numpy_helper.to_array(tensors[name + ".bias"])
    source = nodes[name + ".matmul"].input[0]
    hidden = weight.shape[1] // 3
    added: list[onnx.NodeProto] = []
    for number, part in enumerate("qkv"):
        columns = slice(number * hidden, (number + 1) * hidden)
        own = f"layers.0.{part}"
        for suffix, values in (("int8", weight[:, columns]), ("ratio", ratio[columns])):
            array = np.ascontiguousarray(values)
            model.graph.initializer.append(numpy_helper.from_array(array, f"{own}.w.{suffix}"))
        shift = np.ascontiguousarray(bias[columns])
        model.graph.initializer.append(numpy_helper.from_array(shift, own + ".shift"))
        parts = [own + ".w.int8", name + ".weight.scale", name + ".weight.zero"]
        added += [
            helper.make_node("DequantizeLinear", parts, [own + ".w"], name=own + ".w"),
            helper.make_node("MatMul", [source, own + ".w"], [own + ".mm"], name=own + ".mm"),
            helper.make_node("Mul", [own + ".mm", own + ".w.ratio"], [own + ".mr"]),
            helper.make_node("Add", [own + ".mr", own + ".shift"], [own]),
        ]
    split = next(n for n in model.graph.node if n.op_type == "Split" and n.input[0] == name)
    dropped = {split.name, name + ".matmul", name + ".scaled", name, name + ".weight.dequantized"}
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name == split.name:
            kept += added
        if node.name not in dropped and not set(node.output) & dropped:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Factory) -> Callable[[str], Path]:
    """``checkpoint("tag")``: one of each head, so that each is traced once."""
    made: dict[str, Path] = {}

    def once(head: str) -> Path:
        if head not in made:
            made[head] = make_checkpoint("xlm-roberta", head)
        return made[head]

    return once


@pytest.fixture(scope="module")
def lowered(checkpoint: Callable[[str], Path]) -> LoweredGraph:
    return lower_int8(checkpoint("tag"))


def compiled(
    graph: Path, place: Path, profiles: list[LengthProfile], sms: tuple[int, ...] = (89,)
) -> tuple[list[Kernel], bytes]:
    """What TensorRT-RTX makes of a graph: kernels and plan."""
    inputs = graph_inputs(graph)
    names = {"B2": "B", "S2": "S"}
    inputs = {n: [names.get(str(d), d) for d in shape] for n, shape in inputs.items()}
    shapes = [profile.shapes(inputs) for profile in profiles]
    place.mkdir(parents=True, exist_ok=True)
    request = Request(
        module="tensorrt_rtx",
        graph=str(graph),
        engine=str(place / "engine"),
        log=str(place / "log"),
        profiles=tuple({n: [list(s) for s in t] for n, t in p.items()} for p in shapes),
        sms=sms,
    )
    run_child(request, Silent())
    return read_log(place / "log"), (place / "engine").read_bytes()


SMALL = [LengthProfile(16, 128, 2048)]


@needs_rtx
@pytest.mark.parametrize(
    ("precision", "head"), [("int8", "classify"), ("fp16", "embed"), ("int8", "span")]
)
def test_one_bundle_for_three_gpus_is_what_was_asked_for(
    checkpoint: Callable[[str], Path], tmp_path: Path, precision: str, head: str
) -> None:
    folder = checkpoint(head)
    options = BuildOptions(
        str(folder), precision, "tensorrt-rtx", calibration_tokens=1000, sm="86,89,120",
        out=str(tmp_path / "b"),
    )  # fmt: skip
    bundle = build_bundle(options).bundle
    found, engine = bundle.manifest["layers"], bundle.manifest["engine"]
    int8 = precision == "int8"
    assert found["products"] == 8
    assert found["int8_products"] == (8 if int8 else 0)
    assert found["attentions"] == found["fused_attentions"] == 2
    assert found["int8_fused_attentions"] == (2 if int8 else 0)
    assert found["products_with_alpha_one"] == 0
    # An embedding, ten for each layer, and what the head needs; fp16 adds at most two.
    assert 21 <= found["kernels"] <= 27
    assert engine["runs_on"]["sm"] == [86, 89, 120]
    # The fp16 kernel states no such length.
    assert engine["padded_lengths"] == ([64, 128] if int8 else [])
    chosen = engine["layer_kernels"]["layers.1"]
    if int8:
        assert chosen["attention"] == "_gemm_mha_v2 Int8,Int8,Half,Int8 -> Int8"
        assert set(chosen) == {"qkv", "attention", "attention_output", "ffn_in", "ffn_out"}
        assert {v for k, v in chosen.items() if k != "attention"} == {"gemm Int8,Int8 -> Half"}
    bundle.verify()
    assert (bundle.folder / "portable" / "graph.onnx").is_file()
    assert "SM 86, 89, 120" in (bundle.folder / "card.md").read_text()


@needs_rtx
def test_dequantised_e5_small_fuses_in_every_layer(tmp_path: Path) -> None:
    try:
        locate(PIP_E5)
    except CheckpointError as error:
        pytest.skip(f"multilingual-e5-small is not at hand: {error.message}")
    for precision in ("int8", "fp16"):
        options = BuildOptions(
            PIP_E5, precision, "tensorrt-rtx", calibration_tokens=256, sm="86,89,120",
            out=str(tmp_path / precision),
        )  # fmt: skip
        manifest = build_bundle(options).bundle.manifest
        found = manifest["layers"]
        assert found["products"] == 48
        assert found["int8_products"] == (48 if precision == "int8" else 0)
        assert found["attentions"] == found["fused_attentions"] == 12
        # It takes 512 tokens: too many for probabilities in steps of 1/127.
        assert manifest["engine"]["attention"] == "fp16"
        assert found["int8_fused_attentions"] == 0
        assert found["products_with_alpha_one"] == 0


@needs_rtx
def test_turing_gets_fp16_attention_between_int8_products(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = checkpoint("tag")
    options = BuildOptions(
        str(folder), "int8", "tensorrt-rtx", calibration_tokens=1000, sm="75",
        out=str(tmp_path / "b"),
    )  # fmt: skip
    manifest = build_bundle(options).bundle.manifest
    assert manifest["engine"]["attention"] == "fp16"
    assert manifest["layers"]["int8_products"] == 8
    assert manifest["layers"]["fused_attentions"] == 2


@needs_rtx
def test_attention_that_does_not_fuse_fails_or_falls_back(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    """Heads of 128 dimensions have no INT8 attention kernel."""
    folder = make_checkpoint("xlm-roberta", "tag", hidden_size=256, num_attention_heads=2)
    options = BuildOptions(
        str(folder), "int8", "tensorrt-rtx", calibration_tokens=1000, sm="89",
        out=str(tmp_path / "b"),
    )  # fmt: skip
    with pytest.raises(UnfusedError, match="in 0 of 2 layers only") as caught:
        build_bundle(options)
    assert "--allow-unfused" in caught.value.hint
    assert not (tmp_path / "b").exists()
    manifest = build_bundle(replace(options, allow_unfused=True)).bundle.manifest
    assert manifest["engine"]["attention"] == "fp16"
    assert manifest["layers"]["fused_attentions"] == 2
    assert manifest["layers"]["int8_products"] == 8


@needs_rtx
def test_raw_accumulators_are_seen_in_the_plan(lowered: LoweredGraph, tmp_path: Path) -> None:
    graph = spoiled(lowered, tmp_path, scale_per_channel)
    kernels, plan = compiled(graph, tmp_path, SMALL)
    alphas = read_alphas(plan)
    assert set(alphas["layers.1.ffn_in.matmul"]) == {1.0}
    assert 1.0 not in alphas["layers.0.ffn_in.matmul"]
    listing = Listing.read(kernels, alphas)
    assert listing.products_with_alpha_one == 1
    with pytest.raises(BuildError, match=r"1 INT8 products .* overflow"):
        listing.check(layers=2, int8=True, int8_attention=True)


@needs_rtx
def test_a_linear_layer_that_is_no_int8_product_is_seen(
    lowered: LoweredGraph, tmp_path: Path
) -> None:
    graph = spoiled(lowered, tmp_path, keep_in_fp16)
    kernels, plan = compiled(graph, tmp_path, SMALL)
    listing = Listing.read(kernels, read_alphas(plan))
    assert (listing.products, listing.int8_products) == (8, 7)
    assert chosen_kernels(kernels)["layers.1"]["ffn_in"] == "gemm Half,Half -> Half"
    with pytest.raises(BuildError, match="1 of 8 linear layers did not become INT8 products"):
        listing.check(layers=2, int8=True, int8_attention=True)


@needs_rtx
def test_a_mask_of_other_axes_does_not_fuse(lowered: LoweredGraph, tmp_path: Path) -> None:
    graph = spoiled(lowered, tmp_path, rename_mask_axes)
    kernels, plan = compiled(graph, tmp_path, SMALL)
    listing = Listing.read(kernels, read_alphas(plan))
    assert listing.int8_fused_attentions == 0
    with pytest.raises(UnfusedError, match="INT8 attention became one kernel in 0 of 2"):
        listing.check(layers=2, int8=True, int8_attention=True)


@needs_rtx
def test_attention_is_compiled_for_the_length_of_its_profile(
    lowered: LoweredGraph, tmp_path: Path
) -> None:
    profiles = [LengthProfile(8, n, 1024) for n in (64, 256, 512, 513)]
    kernels, plan = compiled(lowered.path, tmp_path, profiles)
    assert read_padded_lengths(plan) == [64, 256, 512]
    fused = {
        number: Listing.read([k for k in kernels if k.profile == number], read_alphas(plan))
        for number in range(4)
    }
    assert [fused[n].int8_fused_attentions for n in range(4)] == [2, 2, 2, 0]
    # All are looked at, so that one bad profile is enough to refuse.
    assert Listing.read(kernels, read_alphas(plan)).int8_fused_attentions == 0


@needs_rtx
def test_the_log_lists_the_layers_once_for_all_gpus(lowered: LoweredGraph, tmp_path: Path) -> None:
    """What is counted in the list, and the factors in the plan, stand for every GPU."""
    profiles = [LengthProfile(8, 64, 512), *SMALL]
    for sms in ((89,), (86, 89)):
        place = tmp_path / str(len(sms))
        kernels, plan = compiled(lowered.path, place, profiles, sms)
        lines = (place / "log").read_text(errors="replace").splitlines()
        assert sum(line.endswith("Layers:") for line in lines) == 1
        assert {len(found) for found in read_alphas(plan).values()} == {len(profiles)}
        assert Listing.read(kernels, read_alphas(plan)).int8_fused_attentions == 2


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (scale_per_channel, BuildError, "scale for each channel"),
        (rename_mask_axes, BuildError, "has an axis 'B2'"),
        (swap_mask_axes, BuildError, "their B and S must be the same"),
        (gather_rows, BuildError, "it must be a GatherND"),
        (split_projection, BuildError, "query, key and value must be one"),
        (add_plugin, UnsupportedError, "is the plugin xopt::VarlenAttention"),
        (add_plugin_in_branch, UnsupportedError, "is the plugin xopt::VarlenAttention"),
        (add_plugin_in_function, UnsupportedError, "is the plugin xopt::VarlenAttention"),
    ],
)
def test_a_spoiled_graph_never_reaches_the_parser(
    lowered: LoweredGraph,
    tmp_path: Path,
    spoil: Spoil,
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_graph(lowered.path, layers=2)
    spoiled(lowered, tmp_path, spoil)
    broken = LoweredGraph(tmp_path, lowered.manifest)
    monkeypatch.setattr(rtx, "library_version", lambda: "1.7.1.116")

    def started(request: Request, progress: Any) -> None:
        raise AssertionError("the child was started")

    monkeypatch.setattr(builder, "run_child", started)
    with pytest.raises(error, match=message):
        rtx.RtxBuilder(RtxOptions()).build(Given(broken), tmp_path, Silent())


def test_a_kernel_without_its_factor_is_not_trusted() -> None:
    kernel = Kernel("gemm", 0, "gemm", ("Int8",), ("Int8",), ("Half",), ("layers.0.qkv.matmul",))
    with pytest.raises(BuildError, match="no factor"):
        Listing.read([kernel], {})
    with pytest.raises(BuildError, match="no list of layers"):
        Listing.read([], {})


def test_lengths_above_254_and_turing_take_fp16_attention() -> None:
    fp16 = {"attention": False}
    assert (RtxOptions().changes("int8", 254), RtxOptions().changes("int8", 255)) == ({}, fp16)
    assert RtxOptions(sm="75").changes("int8", 128) == fp16
    assert (TensorRtOptions().changes("int8", 254), TensorRtOptions().changes("int8", 255)) == (
        {},
        fp16,
    )
    plugin = TensorRtOptions(attention="plugin")
    form = {"form": "tensorrt-plugin"}
    assert (plugin.changes("int8", 254), plugin.changes("int8", 255)) == (form, form | fp16)


@pytest.mark.parametrize(
    ("sm", "message"),
    [("90", "builds for no SM 90"), ("75,86", "built by itself"), ("a", "as numbers")],
)
def test_gpus_that_cannot_be_built_for(sm: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BuildOptions(target="tensorrt-rtx", sm=sm)


def test_options_of_tensorrt_are_refused_elsewhere() -> None:
    with pytest.raises(InputError, match="takes no --sm") as caught:
        BuildOptions(target="cpu", sm="89")
    assert "--target tensorrt-rtx" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "options", "named"),
    [
        ("tensorrt-rtx", {"attention": "plugin"}, "--attention"),
        ("tensorrt-rtx", {"refit": True}, "--refit"),
        ("tensorrt", {"sm": "89"}, "--sm"),
        ("tensorrt", {"allow_unfused": True}, "--allow-unfused"),
    ],
)
def test_an_option_of_another_tensorrt_is_refused(
    target: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=f"target {target} takes no {named}"):
        BuildOptions(target=target, **options)


def test_a_profile_takes_no_more_tokens_than_its_sentences_have() -> None:
    for profile in plan_profiles((), max_tokens=512, batch_tokens=65_536, padded=True):
        assert profile.tokens == profile.sentences * profile.longest <= 65_536


@pytest.mark.parametrize("longest", [1, 64, 100, 128, 512, 700])
def test_profiles_hold_every_batch_up_to_the_budget(longest: int) -> None:
    profiles = plan_profiles((), max_tokens=longest, batch_tokens=8192, padded=True)
    assert profiles[-1].longest == longest
    assert [p.longest for p in profiles] == sorted({p.longest for p in profiles})
    generator = np.random.default_rng(longest)
    # Without the plugin no graph reads cu_seqlens.
    read = {name: shape for name, (_, shape) in INPUTS.items() if name != "cu_seqlens"}
    for profile in profiles:
        assert profile.sentences * profile.longest <= max(8192, longest)
        shorter = generator.integers(1, profile.longest + 1, profile.sentences)
        for lengths in ([profile.longest] * profile.sentences, shorter, shorter[:1]):
            zeros = [np.zeros(n, np.int32) for n in lengths]
            batch = pack([Encoding(z, z) for z in zeros], first_position=2)
            number = choose_profile(profiles, batch)
            assert number is not None
            assert profiles[number].longest <= profile.longest
            arrays = tensorrt_arrays(batch, window=8)
            ranges = profiles[number].shapes(read)
            for name, (low, usual, high) in ranges.items():
                assert all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True))
                shape = arrays[name].shape
                assert all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)), name


@needs_rtx
def test_the_portable_graph_predicts_the_answers(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = checkpoint("classify")
    options = BuildOptions(str(folder), "fp16", "tensorrt-rtx", sm="89", out=str(tmp_path / "b"))
    bundle = build_bundle(options).bundle
    generator = np.random.default_rng(5)
    items = [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in (9, 30, 2)
    ]
    batch = pack(items, first_position=2)
    exact = PackedEncoder.load(Checkpoint.open(folder))
    expected = exact.run(batch).numpy()
    half = PackedEncoder.load(Checkpoint.open(folder)).half()
    tensors = {name: torch.from_numpy(batch.arrays()[name]) for name in half.inputs}
    rounded = half({n: t.half() if t.is_floating_point() else t for n, t in tensors.items()})
    # What PyTorch's own fp16 loses, once for the weights and once for what lies between them.
    bound = 2 * np.abs(rounded.detach().float().numpy() - expected).max()
    with open_engine(bundle, predict=True) as engine:
        assert engine.predicted
        assert np.abs(engine.run(batch)["logits"] - expected).max() < bound
    with pytest.raises(UnsupportedError, match="no NVIDIA driver"):
        open_engine(bundle)


def script(folder: Path, name: str, text: str) -> dict[str, str]:
    """An environment in which ``import name`` runs ``text``."""
    (folder / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(folder)}


def request_for(module: str, place: Path) -> Request:
    return Request(module, str(place / "g"), str(place / "e"), str(place / "log"), profiles=())


def test_a_native_crash_becomes_an_error_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import os, sys\nprint('terminate called', file=sys.stderr, flush=True)\nos.abort()\n"
    monkeypatch.setenv("PYTHONPATH", script(tmp_path, "xopt_aborts", text)["PYTHONPATH"])
    with pytest.raises(BuildError, match=r"died \(signal 6") as caught:
        run_child(request_for("xopt_aborts", tmp_path), Silent())
    assert "terminate called" in caught.value.message


@needs_rtx
def test_a_graph_that_cannot_be_read_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "g").write_bytes(b"not a graph")
    with pytest.raises(BuildError, match="could not read the graph"):
        run_child(request_for("tensorrt_rtx", tmp_path), Silent())


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    text = (
        "import signal\n"
        f"held = open({str(tmp_path / 'held')!r}, 'w')\n"
        "print('here', file=held, flush=True)\n"
        "signal.pause()\n"
    )
    environment = script(tmp_path, "xopt_waits", text)
    os.mkfifo(tmp_path / "held")
    program = (
        "from xopt.engines.tensorrt.child import run_child\n"
        "from xopt.engines.tensorrt.network import Request\n"
        "from xopt.progress import Silent\n"
        f"run_child(Request('xopt_waits', 'g', {str(tmp_path / 'e')!r}, "
        f"{str(tmp_path / 'log')!r}, ()), Silent())\n"
    )
    parent = subprocess.Popen([sys.executable, "-P", "-c", program], env=environment)
    with (tmp_path / "held").open() as held:
        assert held.readline() == "here\n"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # The pipe ends when nobody holds it any more, which is when the child has ended.
        assert held.read() == ""


@needs_rtx
def test_inspect_carries_what_was_read_back(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = checkpoint("embed")
    command = [sys.executable, "-P", "-m", "xopt"]
    build = [
        *command, "build", str(folder), "--precision", "fp16", "--target", "tensorrt-rtx",
        "--sm", "89", "-o", "bundle",
    ]  # fmt: skip
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    shown = subprocess.run(
        [*command, "inspect", "bundle", "--json"], cwd=tmp_path, check=True, capture_output=True
    )
    document = json.loads(shown.stdout)
    assert set(document["layers"]) == {
        "kernels", "products", "int8_products", "attentions", "int8_fused_attentions",
        "fused_attentions", "products_with_alpha_one",
    }  # fmt: skip
    assert "no NVIDIA driver" in document["session"]["error"]
