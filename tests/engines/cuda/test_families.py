"""The CUDA engine on other blocks than BERT's, against the families' own classes in transformers.

In Triton's interpreter, as the other tests here. Weights are rounded to fp16 in the checkpoint, so
that with fp32 activations engine and class compute the same.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests.encoders.families import save, tokens
from tests.rounding import EVERYWHERE, MARGIN, distance, rounding_error

from xopt.artifacts import Bundle, publish, write_manifest
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import Sample
from xopt.calibrate.sites import Site, read_sites
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower_kernels import kernel_arrays
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.parity import reference_answers
from xopt.compile.recipes import check_encoder, lowering_for
from xopt.compile.reference import reference_model
from xopt.packing import Encoding, PackedBatch, pack

triton = pytest.importorskip("triton", reason="Triton is not installed")

from xopt.engines.cuda import CudaEngine  # noqa: E402
from xopt.engines.cuda_buckets import Buckets  # noqa: E402
from xopt.engines.cuda_weights import read_facts, write_weights  # noqa: E402

DEVICE = "cpu" if triton.knobs.runtime.interpret else "cuda"
# As for every interpreter of the plan: both sides compute in fp32, in another order.
TOLERANCE = 1e-4
COMMON: dict[str, Any] = {
    "hidden_size": 32, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 48,
    "max_position_embeddings": 64,
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Gte": ("tag", COMMON | {"head_dim": 64, "type_vocab_size": 2}),
    "EuroBert": ("classify", COMMON | {
        "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1,
        "num_hidden_layers": 2, "classifier_pooling": "late",
    }),
    "JinaEmbeddingsV3": ("classify", COMMON),
    "RoFormer": ("span", COMMON | {"rotary_value": True}),
    "XLMRobertaXL": ("embed", COMMON),
    "DistilBert": ("classify", {
        "dim": 32, "n_heads": 1, "n_layers": 1, "hidden_dim": 48, "max_position_embeddings": 64,
    }),
}  # fmt: skip


@st.composite
def modernbert(draw: st.DrawFn) -> dict[str, Any]:
    kinds = ["full_attention", "sliding_attention"]
    layers = draw(st.integers(1, 2))
    return COMMON | {
        "num_hidden_layers": layers,
        "layer_types": draw(st.lists(st.sampled_from(kinds), min_size=layers, max_size=layers)),
        "local_attention": draw(st.sampled_from([2, 7, 40])),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "norm_bias": draw(st.booleans()),
        "classifier_pooling": draw(st.sampled_from(["cls", "mean"])),
        "hidden_activation": draw(st.sampled_from(["gelu", "silu"])),
    }


def made(folder: Path, prefix: str, head: str, **numbers: Any) -> Checkpoint:
    """A checkpoint whose weights fp16 holds."""
    path = save(folder, prefix, head, **numbers) / "model.safetensors"
    state = {name: tensor.half().float() for name, tensor in load_file(path).items()}
    save_file(state, path, metadata={"format": "pt"})
    checkpoint = Checkpoint.open(folder)
    check_encoder("cuda", checkpoint.config, checkpoint.head, checkpoint.depth)
    return checkpoint


def batch_of(checkpoint: Checkpoint) -> tuple[list[Encoding], PackedBatch]:
    # Few: the interpreter takes its time for each row. A tokenizer numbers the second text of a
    # pair 1 also for an encoder without types, whose table in the kernel has one row.
    found = tokens([9, 1, 6], types=max(checkpoint.config.types, 2))
    return found, pack(found, first_position=checkpoint.config.first_position)


def answered(
    checkpoint: Checkpoint, batch: PackedBatch, out: Path, dtype: str, precision: str = "fp16",
    sites: dict[str, Site] | None = None,
) -> np.ndarray:  # fmt: skip
    """The engine's answer."""
    encoder = PackedEncoder.load(checkpoint)
    facts = {
        "target": "cuda",
        "precision": precision,
        "head": checkpoint.head.manifest(),
        "signature": checkpoint.signature(encoder.inputs, encoder.output_name),
        "engine": Buckets(((batch.tokens, batch.sentences),)).manifest(),
        "checkpoint": checkpoint.source,
        "shape": {
            "layers": checkpoint.depth,
            "hidden": checkpoint.config.hidden,
            "heads": checkpoint.config.heads,
        },
        "provenance": {"checkpoint": checkpoint.fingerprint, "lowered": ""},
        "tools": {},
    }
    with publish(out) as work:
        lowering = lowering_for("cuda", precision)
        write_weights(*kernel_arrays(encoder, lowering, sites or {}), work)
        write_manifest(work, Bundle.kind, "", facts)
    with CudaEngine(Bundle.open(out), device=DEVICE, dtype=dtype) as engine:
        answer: np.ndarray = engine.run(batch)[engine.signature.output]
    return answer


def exact(checkpoint: Checkpoint, found: list[Encoding]) -> np.ndarray:
    return np.asarray(reference_answers(reference_model(checkpoint), checkpoint, found))


@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(numbers=modernbert(), head=st.sampled_from(["embed", "tag", "classify"]))
def test_modernbert_answers_as_its_own_class_does(numbers: dict[str, Any], head: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint = made(folder, "ModernBert", head, **numbers)
        found, batch = batch_of(checkpoint)
        answer = answered(checkpoint, batch, folder / "bundle", "fp32")
        assert np.abs(answer - exact(checkpoint, found)).max() <= TOLERANCE


@pytest.mark.parametrize("prefix", CASES)
def test_other_families_answer_as_their_own_classes_do(prefix: str, tmp_path: Path) -> None:
    head, numbers = CASES[prefix]
    checkpoint = made(tmp_path, prefix, head, **numbers)
    found, batch = batch_of(checkpoint)
    answer = answered(checkpoint, batch, tmp_path / "bundle", "fp32")
    assert np.abs(answer - exact(checkpoint, found)).max() <= TOLERANCE
    facts = read_facts(tmp_path / "bundle")
    assert (facts.layers, facts.pre) == (checkpoint.depth, prefix in ("EuroBert", "XLMRobertaXL"))


@pytest.mark.parametrize(("prefix", "layer"), [("ModernBert", 1), ("EuroBert", 0)])
def test_a_layer_below_the_last_is_pooled(prefix: str, layer: int, tmp_path: Path) -> None:
    made(tmp_path, prefix, "embed", **(COMMON | {"num_hidden_layers": 2}))
    checkpoint = Checkpoint.open(tmp_path, layer=layer)
    found, batch = batch_of(checkpoint)
    answer = answered(checkpoint, batch, tmp_path / "bundle", "fp32")
    assert np.abs(answer - exact(checkpoint, found)).max() <= TOLERANCE


@pytest.mark.parametrize("prefix", ["ModernBert", "EuroBert"])
def test_lower_precisions_err_as_much_as_plain_rounding(prefix: str, tmp_path: Path) -> None:
    numbers = COMMON | {"local_attention": 6} | CASES["EuroBert"][1]
    numbers["num_hidden_layers"] = 2 if prefix == "ModernBert" else 1
    del numbers["classifier_pooling"]
    checkpoint = made(tmp_path, prefix, "embed", **numbers)
    found, batch = batch_of(checkpoint)
    sample = Sample(tuple(found), tuple(("und", "") for _ in found), {})
    encoder = PackedEncoder.load(checkpoint)
    ranges = calibrate(
        encoder, checkpoint.fingerprint, sample, CalibrationRecipe(),
        first_position=checkpoint.config.first_position,
    )  # fmt: skip
    reference = exact(checkpoint, found)
    # fp16 rounds each step, at 12 places of a layer where the yardstick has 4.
    for precision, margin in (("fp16", EVERYWHERE), ("int8", MARGIN)):
        out = tmp_path / precision
        answer = answered(checkpoint, batch, out, "fp16", precision, read_sites(ranges))
        plain = rounding_error(checkpoint, batch, precision)
        assert distance(answer, reference) <= margin * plain
