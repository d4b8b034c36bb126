"""What TensorRT-RTX made of a graph is read back, and every way to spoil one is seen."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
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
from xopt.errors import BuildError, UnsupportedError
from xopt.progress import Silent

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="no TensorRT: tensorrt-rtx is not installed"
)


class Given:
    """A build whose graph is lowered already."""

    lengths = ()

    def __init__(self, lowered: LoweredGraph) -> None:
        self.lowered = lowered

    def lower(self, **changes: Any) -> LoweredGraph:
        return self.lowered


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
