"""Which layers of a bundle are our own, and that they answer what OpenVINO's do."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.encoders.families import add_tokenizer, save, tokens

from xopt.compile.build import BuildOptions, build_bundle
from xopt.engines.openvino import OpenVinoEngine, open_core
from xopt.engines.openvino_layer import suits_here
from xopt.engines.openvino_native import load_attention
from xopt.packing import pack

SIZES: dict[str, Any] = {
    "hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 96,
    "max_position_embeddings": 130, "vocab_size": 1200,
}  # fmt: skip
NARROW = {"hidden_size": 48, "num_attention_heads": 3}
DISTANCES = {
    "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 32,
    "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("prefix", "changes", "sites", "own"),
    [
        ("XLMRoberta", {}, {}, ["I8", "I8"]),
        ("Bert", {}, {}, ["I8", "I8"]),
        ("XLMRoberta", {}, {"fp32_sites": "layers.0.ffn_act,layers.1.qkv_in"}, ["F32+I8"] * 2),
        ("Bert", {}, {"bf16_sites": "layers.1.context,layers.1.ffn_in"}, ["I8", "BF16+I8"]),
        (
            "XLMRoberta", {},
            {"bf16_sites": "layers.0", "fp32_sites": "layers.1.context"}, ["BF16", "F32+I8"],
        ),
        # Queries, keys and values stand apart, and there are tables of distances.
        (
            "DebertaV2", DISTANCES,
            {"bf16_sites": "layers.0.qkv_in", "fp32_sites": "layers.1.qkv_in"},
            ["BF16+I8", "F32+I8"],
        ),
        # No panels of 32 columns.
        ("XLMRoberta", NARROW, {}, []),
        ("XLMRoberta", NARROW, {"bf16_sites": "layers.0.ffn_act"}, []),
    ],
)  # fmt: skip
def test_layers_of_the_known_kind_are_replaced(
    tmp_path: Path,
    tokenizer_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefix: str,
    changes: dict[str, Any],
    sites: dict[str, Any],
    own: list[str],
) -> None:
    """And what they answer is what OpenVINO's layers answer, within the steps of INT8."""
    if load_attention(open_core()).factory is None or not suits_here():
        pytest.skip("no layers of our own here")
    save(tmp_path, prefix, "embed", **SIZES | changes)
    add_tokenizer(tmp_path, tokenizer_file)
    options = BuildOptions(
        str(tmp_path), precision="int8", out=str(tmp_path / "b"), calibration_tokens=2000, **sites
    )
    bundle = build_bundle(options, record=False).bundle
    given, answers = tokens([3, 40, 17, 60]), []
    for suits, wanted in ((True, own), (False, [])):
        monkeypatch.setattr("xopt.engines.openvino.suits_here", lambda suits=suits: suits)
        with OpenVinoEngine(bundle, threads=2) as engine:
            start = engine.signature.first_position
            [answer] = engine.run(pack(given, first_position=start)).values()
            for encoding, row in zip(given, answer, strict=True):
                [alone] = engine.run(pack([encoding], first_position=start)).values()
                np.testing.assert_array_equal(alone[0], row)
            kernels = engine.describe()["kernels"]
            answers.append(answer)
        found = {name.rpartition("_")[2]: n for name, n in kernels.items() if "PackedL" in name}
        assert found == Counter(wanted)
        assert any(name.endswith("I8") for name in kernels)
    a, b = (answer / np.linalg.norm(answer, axis=1, keepdims=True) for answer in answers)
    assert (1 - (a * b).sum(axis=1)).max() <= 2e-3
