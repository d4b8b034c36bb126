"""TensorRT-RTX engines, really built, without a GPU: what fuses, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from xopt.cli import app, build, inspect  # noqa: F401
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.sources import PIP_E5, locate
from xopt.engines.base import open_engine
from xopt.engines.tensorrt.listing import (
    UnfusedError,
)
from xopt.errors import CheckpointError, UnsupportedError
from xopt.packing import Encoding, pack

Factory = Callable[..., Path]

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="no TensorRT: tensorrt-rtx is not installed"
)


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
def test_layers_of_dequantised_e5_small_fuse(tmp_path: Path) -> None:
    try:
        locate(PIP_E5)
    except CheckpointError as error:
        pytest.skip(f"multilingual-e5-small is not at hand: {error.message}")
    # Several GPUs and fp16 are other tests'; benchmarks/rtx_builds.py builds all of it for all.
    options = BuildOptions(
        PIP_E5, "int8", "tensorrt-rtx", calibration_tokens=256, sm="89", layer=3,
        out=str(tmp_path / "b"),
    )  # fmt: skip
    manifest = build_bundle(options).bundle.manifest
    found = manifest["layers"]
    assert found["products"] == found["int8_products"] == 4 * 3
    assert found["attentions"] == found["fused_attentions"] == 3
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
    words = [
        "build", str(checkpoint("embed")), "--precision", "fp16", "--target", "tensorrt-rtx",
        "--sm", "89", "-o", str(tmp_path / "b"),
    ]  # fmt: skip
    assert CliRunner().invoke(app, words).exit_code == 0
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "b"), "--json"])
    document = json.loads(shown.stdout)
    assert set(document["layers"]) == {
        "kernels", "products", "int8_products", "attentions", "int8_fused_attentions",
        "fused_attentions", "products_with_alpha_one",
    }  # fmt: skip
    assert "no NVIDIA driver" in document["session"]["error"]
