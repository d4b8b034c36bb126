"""Which engines are refused, from lists of layers as TensorRT-RTX 1.7 writes them."""

from __future__ import annotations

import pytest

from xopt.engines.tensorrt.listing import (
    Kernel,
    Listing,
    UnfusedError,
    chosen_kernels,
    read_kernels,
)
from xopt.errors import BuildError

PRODUCTS = ("qkv", "attention_output", "ffn_in", "ffn_out")
ALPHAS = {f"layers.0.{part}.matmul": [0.5] for part in PRODUCTS}


def line(
    name: str, kind: str, reads: list[str], constants: list[str], write: str, nodes: list[str]
) -> str:
    """One line of the list."""

    def tensors(types: list[str]) -> str:
        shown = (
            f"{{ Name: __mye{n}, Dimensions: [-1,64], Strides: [64,1], StrideOrder: [1,0], "
            f"Datatype: {of}, Format: (Linear) Row major linear format }}"
            for n, of in enumerate(types)
        )
        return ", ".join(shown)

    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {tensors(reads)}], "
        f"Constants: [ {tensors(constants)}], Outputs: [ {tensors([write])}], "
        f"TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: {metadata}"
    )


def product(part: str, of: str, profile: int = 0) -> str:
    """A linear layer: its weights, then alpha and beta."""
    node = f"layers.0.{part}.matmul"
    mark = f" [profile {profile}]" if profile else ""
    name = f"{node}{mark}_U157_myl{profile}_18"
    more = [f"layers.0.{part}.dq", f"layers.0.{part}.weight.dequantized"] if of == "Int8" else []
    return line(name, "gemm", [of], [of, "Float", "Float"], "Half", [node, *more])


def fused(of: str, profile: int = 0) -> str:
    """Attention as one kernel; the third that it reads is the mask."""
    nodes = ["layers.0.qk.matmul", "layers.0.pv.matmul", "layers.0.probs", "layers.0.scores"]
    return line(f"_gemm_mha_v2_myl{profile}_4", "kgen", [of, of, "Half", of], [], of, nodes)


def unfused(profile: int = 0) -> list[str]:
    """Attention as two products."""
    return [
        line(
            f"layers.0.{part}.matmul_U108_myl{profile}_5", "gemm", ["Half", "Half"],
            ["Float", "Float"], "Half", [f"layers.0.{part}.matmul"],
        )
        for part in ("qk", "pv")
    ]  # fmt: skip


def pointwise(profile: int = 0) -> str:
    return line(f"__myl_Slic_myl{profile}_23", "kgen", ["Float"], [], "Float", ["logits"])


def kernels(*lines: str) -> list[Kernel]:
    shape_call = "Name: __mye7_0_myl0_0, LayerType: shape_call, Inputs: [], Constants: [], "
    return read_kernels(["Layers:", shape_call + "Outputs: [], TacticName: , StreamId: 0", *lines])


def test_a_product_that_stayed_in_fp16_is_refused() -> None:
    types = dict.fromkeys(PRODUCTS, "Int8")
    whole = Listing.read(kernels(fused("Int8"), *map(product, types, types.values())), ALPHAS)
    assert whole == Listing(5, 4, 4, 1, 1, 1, 0)
    whole.check(layers=1, int8=True, int8_attention=True)
    types["ffn_in"] = "Half"
    lines = [fused("Int8"), *map(product, types, types.values())]
    listing = Listing.read(kernels(*lines), ALPHAS)
    assert listing == Listing(5, 4, 3, 1, 1, 1, 0)
    with pytest.raises(BuildError, match="1 of 4 linear layers did not become INT8 products"):
        listing.check(layers=1, int8=True, int8_attention=True)
    # In an fp16 engine such a product is what was asked for.
    listing.check(layers=1, int8=False, int8_attention=True)


@pytest.mark.parametrize("of", ["Half", "Int8"])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_profile_whose_fp16_attention_is_not_fused_is_the_worst(of: str, bad: int) -> None:
    """Though the other profile has more kernels."""
    good = 1 - bad
    lines = [product(part, of, profile) for profile in (0, 1) for part in PRODUCTS]
    lines += [fused("Half", good), *unfused(bad), *[pointwise(good)] * 5]
    found = kernels(*lines)
    listing = Listing.read(found, ALPHAS)
    assert (listing.fused_attentions, listing.kernels) == (0, 6)
    with pytest.raises(UnfusedError, match="attention became one kernel in 0 of 1 layers only"):
        listing.check(layers=1, int8=of == "Int8", int8_attention=False)
    # What is told of each layer is told of that profile too.
    assert chosen_kernels(found)["layers.0"]["attention"] == "gemm Half,Half,Float -> Half"


def test_of_two_profiles_that_fuse_the_one_with_a_product_in_fp16_is_the_worst() -> None:
    types = [["Int8"] * 4, ["Int8", "Half", "Int8", "Int8"], ["Int8"] * 4]
    lines = [
        product(part, of, profile)
        for profile, row in enumerate(types)
        for part, of in zip(PRODUCTS, row, strict=True)
    ]
    lines += [fused("Int8", profile) for profile in range(3)] + [pointwise(2)]
    found = kernels(*lines)
    assert Listing.read(found, ALPHAS).int8_products == 3
    chosen = chosen_kernels(found)["layers.0"]
    assert chosen["attention_output"] == "gemm Half,Half -> Half"
    assert chosen["qkv"] == "gemm Int8,Int8 -> Half"


def test_without_kernels_nothing_is_told_of_a_layer() -> None:
    assert chosen_kernels([]) == {}
