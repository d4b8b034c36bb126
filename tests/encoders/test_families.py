"""Every family against its own class in transformers: hidden states, heads, ragged batches."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.encoders.families import save, tokens

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.parity import reference_answers, reference_model
from xopt.encoders.families import FAMILIES
from xopt.errors import CheckpointError
from xopt.packing import pack

# Both sides compute in fp32, in another order.
TOLERANCE = 1e-4
LENGTHS = (3, 40, 1, 17, 29, 64)

Draw = st.DrawFn


@st.composite
def bert(draw: Draw) -> dict[str, Any]:
    heads = draw(st.sampled_from([1, 2, 3]))
    return {
        "hidden_size": heads * 16,
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.sampled_from([24, 80])),
        "max_position_embeddings": 70,
        "type_vocab_size": draw(st.sampled_from([1, 2])),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-12])),
    }


@st.composite
def distilbert(draw: Draw) -> dict[str, Any]:
    heads = draw(st.sampled_from([1, 2, 3]))
    return {
        "dim": heads * 16,
        "n_heads": heads,
        "n_layers": draw(st.integers(1, 3)),
        "hidden_dim": draw(st.sampled_from([24, 80])),
        "max_position_embeddings": 64,
        "activation": draw(st.sampled_from(["gelu", "relu"])),
    }


TOKEN = ("tag", "span")
SENTENCE = ("classify", "choice")
CASES = {
    "Bert": (bert(), ("embed", "mlm", *TOKEN, *SENTENCE)),
    "XLMRoberta": (bert(), ("embed", "mlm", *TOKEN, *SENTENCE)),
    "DistilBert": (distilbert(), ("embed", "mlm", *TOKEN, *SENTENCE)),
}


def check(folder: Path, seed: int = 0) -> None:
    """Hidden states and head of a ragged batch, and every sentence alone."""
    checkpoint = Checkpoint.open(folder)
    encodings = tokens(LENGTHS, seed)
    first = checkpoint.config.first_position
    theirs: list[torch.Tensor] = []
    expected = reference_answers(reference_model(checkpoint), checkpoint, encodings, theirs)
    ours: list[torch.Tensor] = []
    model = PackedEncoder.load(checkpoint)
    answer = model.run(pack(encodings, first_position=first), trail=ours).numpy()
    assert len(ours) == len(theirs) == checkpoint.config.layers + 1
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).abs().max()) <= TOLERANCE
    assert answer.shape == expected.shape
    assert abs(answer - expected).max() <= TOLERANCE
    alone = [model.run(pack([e], first_position=first)) for e in encodings]
    assert float((torch.cat(alone) - torch.from_numpy(answer)).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("prefix", CASES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_family_answers_as_its_own_class_does(prefix: str, data: st.DataObject) -> None:
    numbers, heads = CASES[prefix]
    head = data.draw(st.sampled_from(heads))
    seed = data.draw(st.integers(0, 99))
    with tempfile.TemporaryDirectory() as folder:
        check(save(Path(folder), prefix, head, seed, **data.draw(numbers)), seed)


def small(prefix: str) -> dict[str, Any]:
    """One fixed config of a family."""
    numbers: dict[str, Any] = SMALL[prefix]
    return numbers


BERT_SMALL = {
    "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 48,
    "max_position_embeddings": 70,
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "Bert": BERT_SMALL,
    "XLMRoberta": BERT_SMALL,
    "DistilBert": {
        "dim": 32, "n_heads": 2, "n_layers": 2, "hidden_dim": 48, "max_position_embeddings": 64,
    },
}  # fmt: skip


@pytest.mark.parametrize("prefix", CASES)
def test_every_head_of_a_family(prefix: str, tmp_path: Path) -> None:
    for head in CASES[prefix][1]:
        (tmp_path / head).mkdir()
        check(save(tmp_path / head, prefix, head, **small(prefix)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("prefix", CASES)
def test_half_and_sharded_weights(prefix: str, dtype: str, tmp_path: Path) -> None:
    import transformers

    whole = save(tmp_path, prefix, "tag", **small(prefix))
    loader = transformers.AutoModelForTokenClassification
    half = tmp_path / "half"
    loader.from_pretrained(whole, dtype=dtype).save_pretrained(half, max_shard_size="20KB")
    shutil.copy(whole / "tokenizer.json", half)
    checkpoint = Checkpoint.open(half)
    assert len(checkpoint.weight_files) > 1
    check(half)


@pytest.mark.parametrize("prefix", CASES)
def test_missing_and_unknown_tensors_are_named(prefix: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path, prefix, "embed", **small(prefix))
    checkpoint = Checkpoint.open(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    theirs = next(t for t in checkpoint.family.places([1]) if ".1." in t) + ".weight"
    tensors["adapter.1.weight"] = tensors.pop(theirs)
    save_file(tensors, path)
    with pytest.raises(CheckpointError) as caught:
        PackedEncoder.load(checkpoint)
    assert f"unset (1): {theirs}" in caught.value.message
    assert "unused (1): adapter.1.weight" in caught.value.message


def test_every_family_is_tested() -> None:
    prefixes = {prefix for family in FAMILIES for prefix, _ in family.types.values()}
    assert prefixes - set(CASES) == {"Roberta", "Camembert"}
