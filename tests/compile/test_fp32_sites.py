"""INT8 with some products in fp32: a graph whose every site is kept is the fp32 graph."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.rounding import calibrated_batch, distance

from xopt.artifacts import Bundle
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.engines.base import open_engine
from xopt.errors import InputError
from xopt.export.forms import export

Factory = Callable[..., Path]
SITES = ["qkv_in", "context", "ffn_in", "ffn_act"]
# Our own attention still rounds a long sentence's rows in an INT8 bundle, to 13 bits and a sign.
# Half a step of the largest value.
ATTENTION = 2**-14


def answer(folder: Path, out: Path, sites: str | None) -> tuple[np.ndarray, Bundle]:
    options = BuildOptions(
        str(folder), calibration_tokens=512, fp32_sites=sites, cpu="any", out=str(out)
    )
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
    assert len(bundle.manifest["engine"]["fp32_sites"]) == 9
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
