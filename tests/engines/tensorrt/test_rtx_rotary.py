"""TensorRT-RTX engines of the rotary encoders, really built, without a GPU: what fuses."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.encoders.families import add_tokenizer, save
from tests.rounding import ATTENTION_TOO, calibrated_batch, distance, rounding_error

from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.engines.tensorrt.portable import PortableEngine
from xopt.errors import UnsupportedError

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="no TensorRT: tensorrt-rtx is not installed"
)
COMMON: dict[str, Any] = {
    "hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 192,
    "max_position_embeddings": 128, "vocab_size": 1200,
}  # fmt: skip
CASES = {
    "Gte": (COMMON, "tag"),
    "ModernBert": (COMMON | {"local_attention": 32}, "embed"),
    "JinaEmbeddingsV3": (COMMON, "embed"),
}


def checkpoint_of(folder: Path, prefix: str, head: str, tokenizer: Path, **changes: Any) -> Path:
    save(folder, prefix, head, **(CASES[prefix][0] | changes))
    add_tokenizer(folder, tokenizer)
    return folder


@needs_rtx
@pytest.mark.parametrize("prefix", CASES)
def test_products_are_int8_and_attention_is_one_kernel(
    prefix: str, tmp_path: Path, tokenizer_file: Path
) -> None:
    folder = checkpoint_of(tmp_path, prefix, CASES[prefix][1], tokenizer_file)
    options = BuildOptions(
        str(folder), "int8", "tensorrt-rtx", calibration_tokens=1000,
        sm="89" if prefix == "JinaEmbeddingsV3" else "89,120",
        out=str(tmp_path / "b"),
    )  # fmt: skip
    bundle = build_bundle(options, record=False).bundle
    found = bundle.manifest["layers"]
    # Four a layer: queries, keys and values are one, and both halves of a gated part.
    assert found["products"] == found["int8_products"] == 12
    assert found["attentions"] == found["fused_attentions"] == 3
    assert found["products_with_alpha_one"] == 0
    assert bundle.manifest["engine"]["attention"] == "fp16"
    if prefix == "JinaEmbeddingsV3":
        return  # tests/compile/test_tensorrt_rotary.py holds its error against XLM-R's.
    checkpoint = Checkpoint.open(folder)
    batch = calibrated_batch(checkpoint, 1000)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    engine = PortableEngine(bundle, threads=1)
    [close] = engine.run(batch).values()
    assert distance(close, exact) <= ATTENTION_TOO * rounding_error(checkpoint, batch, "int8")


@pytest.mark.parametrize(
    ("options", "word"),
    [({"layer": 1}, "without the norm behind the last one"), ({}, "the activation silu")],
)
def test_what_it_does_not_have_is_refused_before_anything_is_measured(
    options: dict[str, Any], word: str, tmp_path: Path, tokenizer_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import xopt.compile.build as stages

    monkeypatch.setattr(stages, "sample_of", lambda *_: pytest.fail("ran before the refusal"))
    activation = "gelu" if options else "silu"
    folder = checkpoint_of(
        tmp_path, "ModernBert", "embed", tokenizer_file, hidden_activation=activation
    )
    wanted = BuildOptions(str(folder), "int8", "tensorrt-rtx", out=str(tmp_path / "b"), **options)
    with pytest.raises(UnsupportedError, match=word) as caught:
        build_bundle(wanted, record=False)
    assert "--target cpu" in caught.value.hint
