"""INT8 with some products in fp32 or bf16, against fp32 and a plain encoder of bf16 products."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.rounding import calibrated_batch, distance

from xopt.artifacts import Bundle
from xopt.cli.build_show import show
from xopt.compile.build import BuildOptions, BuildResult, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.mixing import bf16_obstacle
from xopt.compile.packed_encoder import PackedEncoder
from xopt.encoders.spec import named_layers
from xopt.engines.base import open_engine
from xopt.engines.openvino_layer import suits_here
from xopt.engines.openvino_native import obstacle
from xopt.errors import InputError, UnsupportedError
from xopt.export.forms import export

Factory = Callable[..., Path]
SITES = ["qkv_in", "context", "ffn_in", "ffn_act"]
# Our own attention still rounds a long sentence's rows in an INT8 bundle, to 13 bits and a sign.
# Half a step of the largest value.
ATTENTION = 2**-14


def answer(
    folder: Path, out: Path, sites: str | None, bf16: str | None = None
) -> tuple[np.ndarray, Bundle]:
    options = BuildOptions(
        str(folder), calibration_tokens=512, fp32_sites=sites, bf16_sites=bf16, cpu="any",
        out=str(out),
    )  # fmt: skip
    bundle = build_bundle(options, record=False).bundle
    with open_engine(bundle) as engine:
        return engine.run(calibrated_batch(Checkpoint.open(folder)))["logits"], bundle


def test_each_site_that_is_kept_is_exact(make_checkpoint: Factory, tmp_path: Path) -> None:
    folder = make_checkpoint("xlm-roberta", "tag")
    checkpoint = Checkpoint.open(folder)
    exact = PackedEncoder.load(checkpoint).run(calibrated_batch(checkpoint)).numpy()
    rounded, plain = answer(folder, tmp_path / "none", None)
    whole, bundle = answer(folder, tmp_path / "all", "layers.0,layers.1,embeddings")
    assert distance(whole, exact) < ATTENTION
    assert "fp32_sites" not in plain.manifest["engine"]
    kept = bundle.manifest["engine"]["fp32_sites"]
    assert len(kept) == 9
    assert named_layers(kept) == "embeddings, layers.0, layers.1"
    some = ["layers.10.ffn_act", "layers.2.ffn_in", "layers.2.qkv_in"]
    assert named_layers(some) == "layers.2.qkv_in, layers.2.ffn_in, layers.10.ffn_act"
    before = distance(rounded, exact)
    assert before > 100 * 1e-5
    # Middles go from one product to the next: each kept one meets INT8 ones before and behind it.
    for site in SITES:
        found, _ = answer(folder, tmp_path / site, f"layers.0.{site}")
        assert 1e-5 < distance(found, exact) < 1.3 * before, site
    layer, _ = answer(folder, tmp_path / "layer", "embeddings, layers.1")
    assert distance(layer, exact) < before
    asked = BuildOptions(
        str(folder), calibration_tokens=512, fp32_sites="embeddings, layers.1", cpu="any"
    )
    export(asked, "onnx-qdq", tmp_path / "exported")
    graph = onnx.load(tmp_path / "exported" / "graph.onnx", load_external_data=False).graph
    names = [tensor.name for tensor in graph.initializer if tensor.name.endswith(".int8")]
    # Queries, keys and values stand apart in the layer that is left.
    assert len(names) == 6
    assert all(name.startswith("layers.0.") for name in names)


def in_bf16(model: PackedEncoder, sites: list[str]) -> PackedEncoder:
    """Both sides of the products rounded by PyTorch, sums in fp32."""

    def rounded(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return given[0].bfloat16().float()

    for site in sites:
        for module in model.readers(site):
            module.weight.data = module.weight.bfloat16().float()
            module.register_forward_pre_hook(rounded)
    return model


def test_bf16_is_that_of_a_plain_encoder(
    make_checkpoint: Factory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All products in bf16: the graph's own fp32 stands around them."""
    folder = make_checkpoint("xlm-roberta", "tag")
    checkpoint = Checkpoint.open(folder)
    batch = calibrated_batch(checkpoint)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    every = [f"layers.{layer}.{site}" for layer in (0, 1) for site in SITES]
    plain = in_bf16(PackedEncoder.load(checkpoint), every).run(batch).numpy()
    found, bundle = answer(folder, tmp_path / "all", "embeddings", "layers.0,layers.1")
    engine = bundle.manifest["engine"]
    assert engine["fp32_sites"] == ["embeddings"]
    assert engine["bf16_sites"] == sorted(every)
    assert "in bf16: layers.0, layers.1 (" in (bundle.folder / "card.md").read_text()
    lost = distance(plain, exact)
    show(BuildResult(bundle, 0.0, cached=True), None)
    said = capsys.readouterr().out
    assert "nothing is left in it\n" in said
    # As `xopt doctor` and the search have it: AMX, or no AVX-512 BF16, and fp32 is as fast.
    why = bf16_obstacle(bundle)
    assert ("no faster here than fp32: " + why in " ".join(said.split())) == bool(why)
    if obstacle() or not suits_here():
        # OpenVINO's layers read the same weights and fp32.
        assert distance(found, exact) < lost
        return
    # Values near half a step of bf16 fall to either side; roundings that know nothing of each
    # other would be 2**0.5 of it apart.
    assert distance(found, plain) < lost / 2
    assert distance(found, exact) > lost / 2
    # OpenVINO's layers, as on a CPU without ours, read the same weights and fp32.
    with open_engine(bundle, own_attention=False) as other:
        without = other.run(batch)["logits"]
    assert distance(without, exact) < lost
    # Of one site beside INT8 ones, no more than INT8's own error.
    rounded, _ = answer(folder, tmp_path / "none", None)
    for site in SITES:
        one, _ = answer(folder, tmp_path / site, None, f"layers.0.{site}")
        assert distance(one, rounded) > 0, site
        assert distance(one, exact) < 1.3 * distance(rounded, exact), site


def test_a_bf16_weight_is_stored_in_two_bytes(make_checkpoint: Factory, tmp_path: Path) -> None:
    folder = make_checkpoint("bert", "tag")
    asked = BuildOptions(
        str(folder), calibration_tokens=512, bf16_sites="layers.0", fp32_sites="layers.1.ffn_act"
    )
    export(asked, "onnx-qdq", tmp_path / "exported")
    graph = onnx.load(tmp_path / "exported" / "graph.onnx", load_external_data=False).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    bf16 = [name for name, kind in kinds.items() if kind == onnx.TensorProto.BFLOAT16]
    assert len(bf16) == 4
    assert all(name.startswith("layers.0.") for name in bf16)
    assert kinds["layers.1.ffn_out.weight"] == onnx.TensorProto.FLOAT


def test_a_weight_that_bf16_makes_infinite_is_refused(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    folder = make_checkpoint("bert", "tag")
    weights = load_file(folder / "model.safetensors")
    # Of a neuron that is always 0.
    for name in ("weight", "bias"):
        weights[f"bert.encoder.layer.1.intermediate.dense.{name}"][0] = 0
    weights["bert.encoder.layer.1.output.dense.weight"][0, 0] = torch.finfo(torch.float32).max
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    options = BuildOptions(
        str(folder), calibration_tokens=512, bf16_sites="layers.1", out=str(tmp_path / "b")
    )
    with pytest.raises(UnsupportedError, match=r"layers\.1\.ffn_out\.weight .* infinity"):
        build_bundle(options, record=False)


def test_what_cannot_be_kept_is_refused(make_checkpoint: Factory, tmp_path: Path) -> None:
    folder = str(make_checkpoint("bert", "tag"))
    for sites in ("layers.0.probs", "head", "layers.x", "layers.0.", "", "layers.0,,"):
        with pytest.raises(InputError, match="no part of an encoder"):
            BuildOptions(folder, fp32_sites=sites)
    with pytest.raises(InputError, match="the precision is fp32"):
        BuildOptions(folder, precision="fp32", fp32_sites="layers.0")
    with pytest.raises(InputError, match="takes no --fp32-sites"):
        BuildOptions(folder, target="cuda", fp32_sites="layers.0")
    for typed, named in (("layers.1, layers.2", "layers.2"), ("layers.21.ffn_in",) * 2):
        with pytest.raises(InputError, match=f"names '{named}'; this encoder has 2 "):
            build_bundle(BuildOptions(folder, fp32_sites=typed, out=str(tmp_path / "b")))
    assert not (tmp_path / "b").exists()
    for sites in ("layers.0.probs", "layers.x", ""):
        with pytest.raises(InputError, match=r"--bf16-sites names .* no part of an encoder"):
            BuildOptions(folder, bf16_sites=sites)
    with pytest.raises(InputError, match="row by row"):
        BuildOptions(folder, bf16_sites="embeddings")
    with pytest.raises(InputError, match=r"layers\.0\.context cannot be in fp32 and in bf16"):
        BuildOptions(folder, fp32_sites="layers.0.context", bf16_sites="layers.0")
    with pytest.raises(InputError, match="takes no --bf16-sites"):
        BuildOptions(folder, target="cuda", bf16_sites="layers.0")
    with pytest.raises(InputError, match="the precision is fp32"):
        BuildOptions(folder, precision="fp32", bf16_sites="layers.0")
    with pytest.raises(InputError, match=r"--bf16-sites names 'layers\.2'; this enc"):
        build_bundle(BuildOptions(folder, bf16_sites="layers.2", out=str(tmp_path / "b")))
