"""TensorRT-RTX engines, really built, without a GPU: what fuses, and every way to spoil it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.engines.tensorrt.spoiled import (
    Spoil,
    add_plugin,
    add_plugin_in_branch,
    add_plugin_in_function,
    gather_rows,
    keep_in_fp16,
    rename_mask_axes,
    scale_per_channel,
    split_projection,
    spoiled,
    swap_mask_axes,
)

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
from xopt.compile.trace import trace_checkpoint
from xopt.engines.base import open_engine
from xopt.engines.tensorrt import builder, rtx
from xopt.engines.tensorrt.child import run_child
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
from xopt.engines.tensorrt.options import RtxOptions
from xopt.engines.tensorrt.profiles import LengthProfile
from xopt.errors import BuildError, CheckpointError, UnsupportedError
from xopt.packing import Encoding, pack
from xopt.progress import Silent
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]

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
