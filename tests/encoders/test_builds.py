"""Families on the CPU in INT8: built, alone as in a batch, and as exact as XLM-R is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.encoders.families import add_tokenizer, save, tokens

from xopt.artifacts import Bundle
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.parity import reference_answers
from xopt.compile.reference import reference_model
from xopt.engines.base import open_engine
from xopt.engines.openvino_layer import suits_here
from xopt.engines.openvino_native import obstacle
from xopt.errors import UnsupportedError
from xopt.packing import pack

COMMON = {
    "hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 96,
    "max_position_embeddings": 256,
}  # fmt: skip
DISTIL = {
    "dim": 64, "n_heads": 2, "n_layers": 3, "hidden_dim": 96, "max_position_embeddings": 256,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "XLMRoberta": COMMON,
    "DistilBert": DISTIL,
    "RoFormer": COMMON | {"embedding_size": 32, "rotary_value": True},
    "XLMRobertaXL": COMMON,
    "ModernBert": COMMON | {"local_attention": 32},
    "Gte": COMMON,
    "EuroBert": COMMON | {"num_key_value_heads": 1},
    "Gemma3Text": COMMON | {
        "num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32,
        "sliding_window": 32, "use_bidirectional_attention": True, "num_hidden_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "DebertaV2": COMMON | {
        "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 32,
        "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
    },
}  # fmt: skip
# Whose norms follow the residuals, with a GELU and nothing rotated.
WHOLE_LAYERS = ("XLMRoberta", "DistilBert", "DebertaV2")
# Ragged and cut into windows; one long text; short ones of one length, which run without gathers.
BATCHES = ((3, 40, 1, 17, 200, 64, 5), (250,), (20, 20, 20, 20))


@pytest.fixture(autouse=True)
def no_second_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a family computes needs PyTorch to trace it again, to decompose it."""
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", None)


def checkpoint_of(folder: Path, prefix: str, head: str, tokenizer: Path) -> Checkpoint:
    save(folder, prefix, head, vocab_size=1200, **OPTIONS[prefix])
    add_tokenizer(folder, tokenizer)
    return Checkpoint.open(folder)


def build(checkpoint: Checkpoint, out: Path, **options: Any) -> Bundle:
    wanted = BuildOptions(
        checkpoint=str(checkpoint.folder), calibration_tokens=1000, out=str(out), **options
    )
    return build_bundle(wanted, record=False).bundle


def error_of_int8(prefix: str, folder: Path, tokenizer: Path) -> float:
    """Root mean square error of INT8's logits, in those that fp16 weights alone would make.

    A network that answers sharply to every change has larger errors in both.
    """
    head = "embed" if prefix == "Gemma3Text" else "tag"
    checkpoint = checkpoint_of(folder, prefix, head, tokenizer)
    output = "logits" if head == "tag" else "embeddings"
    first, reference = checkpoint.config.first_position, reference_model(checkpoint)
    half = PackedEncoder.load(checkpoint)
    with torch.no_grad():
        for parameter in half.parameters():
            parameter.copy_(parameter.half().float())
    ours, theirs = [0.0], [0.0]
    with open_engine(build(checkpoint, folder / "int8")) as engine:
        if not obstacle():
            assert engine.form == "packed"
            layers = [kind for kind in engine.describe()["kernels"] if "PackedLayer" in kind]
            assert bool(layers) == (prefix in WHOLE_LAYERS and suits_here())
        for lengths in BATCHES:
            encodings = tokens(lengths)
            exact = reference_answers(reference, checkpoint, encodings)
            answer = engine.run(pack(encodings, first_position=first))[output]
            alone = [engine.run(pack([e], first_position=first))[output] for e in encodings]
            np.testing.assert_array_equal(np.concatenate(alone), answer)
            ours.append(float(np.square(answer - exact).sum()))
            rounded = half.run(pack(encodings, first_position=first)).numpy()
            theirs.append(float(np.square(rounded - exact).sum()))
    return float(np.sqrt(sum(ours) / sum(theirs)))


@pytest.fixture(scope="module")
def xlm_roberta(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> float:
    return error_of_int8("XLMRoberta", tmp_path_factory.mktemp("xlmr"), tokenizer_file)


@pytest.mark.parametrize("prefix", [name for name in OPTIONS if name != "XLMRoberta"])
def test_int8_costs_what_it_costs_xlm_roberta(
    prefix: str, tmp_path: Path, tokenizer_file: Path, xlm_roberta: float
) -> None:
    assert error_of_int8(prefix, tmp_path, tokenizer_file) <= 1.5 * xlm_roberta


@pytest.mark.parametrize("target", ["cuda", "tensorrt-rtx"])
def test_a_target_that_lacks_an_operation_refuses_before_calibration(
    target: str, tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xopt.compile.build as stages

    for stage in ("trace_checkpoint", "ranges_of", "sample_of"):
        monkeypatch.setattr(stages, stage, lambda *_: pytest.fail("ran before the refusal"))
    lacks = {
        "cuda": (
            ("DebertaV2", "embed", ("disentangled positions",)),
            ("Gemma3Text", "embed", ("norms of queries and keys",)),
            ("RoFormer", "embed", ("projected embeddings",)),
        ),
        # Rotary positions, windows and gates it has (tests/engines/tensorrt/test_rtx_rotary.py).
        "tensorrt-rtx": (
            ("EuroBert", "embed", ("RMSNorm", "grouped key and value heads")),
            ("DistilBert", "classify", ("without tanh",)),
            ("DebertaV2", "embed", ("disentangled positions",)),
        ),
    }
    for prefix, head, words in lacks[target]:
        (tmp_path / prefix).mkdir()
        checkpoint = checkpoint_of(tmp_path / prefix, prefix, head, tokenizer_file)
        with pytest.raises(UnsupportedError) as caught:
            build(checkpoint, tmp_path / "out", target=target)
        assert all(word in caught.value.message for word in words), caught.value.message
        assert "--target cpu" in caught.value.hint


def test_tuning_refuses_a_family_that_it_does_not_know(
    tmp_path: Path, tokenizer_file: Path
) -> None:
    from xopt.tune.options import TuneOptions
    from xopt.tune.phases import tune_checkpoint

    folder = checkpoint_of(tmp_path, "DistilBert", "embed", tokenizer_file).folder
    with pytest.raises(UnsupportedError, match="is of the type distilbert") as caught:
        tune_checkpoint(TuneOptions(checkpoint=str(folder), target="xnli"))
    assert "xopt build" in caught.value.hint
