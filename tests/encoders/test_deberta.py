"""mDeBERTa beyond what every family is tested for: texts, fp16's range, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.encoders.families import save, tokens

from xopt.artifacts import Bundle
from xopt.calibrate.corpus import load_corpus
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.parity import reference_answers
from xopt.compile.reference import reference_model
from xopt.compile.relative import distance_rows
from xopt.encoders.spec import Relative
from xopt.engines.base import open_engine
from xopt.errors import CheckpointError
from xopt.model.core import Model
from xopt.packing import pack

# As microsoft/mdeberta-v3-base has them, at a small size; a text here passes the last bucket of 1.
MDEBERTA: dict[str, Any] = {
    "hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 96,
    "max_position_embeddings": 128, "relative_attention": True, "position_buckets": 32,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p",
    "position_biased_input": False, "max_relative_positions": -1,
}  # fmt: skip


def vocabulary() -> list[tuple[str, float]]:
    """Pieces of one or two characters of the calibration texts."""
    text = " ".join(text for _, text in load_corpus().rows[:300]).replace(" ", "▁")
    pieces = {text[i : i + n] for i in range(len(text)) for n in (1, 2)}
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    return [(s, 0.0) for s in special] + [(p, -float(len(p))) for p in sorted(pieces)[:3000]]


def mdeberta(folder: Path, head: str, **numbers: Any) -> Path:
    """A checkpoint with the tokenizer of its own class."""
    pieces = vocabulary()
    special = {"pad_token_id": 0, "vocab_size": len(pieces), "num_labels": 3}
    save(folder, "DebertaV2", head, **(MDEBERTA | special | numbers))
    tokenizer = transformers.DebertaV2Tokenizer(vocab=pieces, unk_id=3, model_max_length=128)
    tokenizer.save_pretrained(folder)
    return folder


def build(folder: Path, precision: str) -> Bundle:
    options = BuildOptions(
        checkpoint=str(folder), precision=precision, calibration_tokens=1000,
        out=str(folder / precision),
    )  # fmt: skip
    return build_bundle(options, record=False).bundle


def test_pairs_are_classified_from_texts_as_transformers_does(tmp_path: Path) -> None:
    folder = mdeberta(tmp_path, "classify")
    texts = ["Die Katze schläft.", "猫が寝ている。", "x", "القطة نائمة على السرير منذ الصباح"]
    pairs = ["A cat sleeps.", "Nobody sleeps.", "y z", "কেউ ঘুমায় না।"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    whole = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        feed = tokenizer(texts, pairs, padding=True, return_tensors="pt")
        expected = whole(**feed).logits.softmax(-1).numpy()
    errors = {}
    for precision in ("fp32", "fp16", "int8"):
        with Model.open(build(folder, precision)) as model:
            found = np.array(
                [one.values for one in model.predict(list(zip(texts, pairs, strict=True)))]
            )
        errors[precision] = float(np.abs(found - expected).max())
    assert errors["fp32"] <= 1e-4
    assert errors["fp16"] <= 2e-3


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_values_that_fp16_cannot_hold_are_answered(precision: str, tmp_path: Path) -> None:
    """Queries and inner values above 65,504, as in trained checkpoints; the states stay alike."""
    errors = []
    for factor in (1.0, 2.0**14):
        folder = tmp_path / str(factor)
        folder.mkdir()
        mdeberta(folder, "tag", hidden_act="relu")
        path = folder / "model.safetensors"
        state = load_file(path)
        for name in state:
            if "query_proj" in name or "intermediate.dense" in name:
                state[name] *= factor
            elif "key_proj" in name or name.endswith("output.dense.weight"):
                state[name] /= 1 if "attention.output" in name else factor
        save_file(state, path, {"format": "pt"})
        checkpoint, encodings = Checkpoint.open(folder), tokens((100, 30, 5))
        states: list[torch.Tensor] = []
        expected = reference_answers(reference_model(checkpoint), checkpoint, encodings, states)
        query = states[0] @ state["deberta.encoder.layer.0.attention.self.query_proj.weight"].T
        assert (float(query.abs().max()) > 65504) == (factor > 1)
        with open_engine(build(folder, precision)) as engine:
            answer = engine.run(pack(encodings, first_position=0))["logits"]
        errors.append(float(np.sqrt(np.square(answer - expected).mean())))
    # The smallest keys are subnormal in fp16 then, and lose a bit or two.
    assert errors[1] <= (1.5 if precision == "int8" else 8) * errors[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("conv_kernel_size", 3),
        ("embedding_size", 32),
        ("attention_head_size", 64),
        ("pos_att_type", "c2p|p2p"),
        ("position_buckets", 1),
        ("pooler_hidden_size", 32),
        ("relative_attention", "yes"),
        ("hidden_act", "gelu_fast"),
    ],
)
def test_an_option_that_is_not_computed_is_refused_by_its_name(
    name: str, value: object, tmp_path: Path
) -> None:
    folder = save(tmp_path, "DebertaV2", "classify", **MDEBERTA)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(folder)
    word = "activation" if name == "hidden_act" else name
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("buckets", "reach", "longest"), [(256, 512, 512), (32, 4096, 4096), (6, 9, 300), (40, 10, 60)]
)
def test_a_distance_has_the_row_that_transformers_takes(
    buckets: int, reach: int, longest: int
) -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    tall, wide = torch.zeros(1, longest, 1), torch.zeros(1, 1, 1)
    relative = Relative(frozenset(["c2p"]), 2 * buckets, buckets, reach, True, None)
    rows = distance_rows(relative, longest)
    # Of each query to the first key, and of the first query to each key.
    ahead = build_relative_position(tall, wide, buckets, reach)[0, :, 0] + buckets
    behind = build_relative_position(wide, tall, buckets, reach)[0, 0] + buckets
    assert torch.equal(rows[:longest].flip(0), ahead.clamp(0, 2 * buckets - 1))
    assert torch.equal(rows[longest - 1 : -1], behind.clamp(0, 2 * buckets - 1))
