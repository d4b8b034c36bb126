"""The files of EmbeddingGemma at a small size: its Dense modules and prompts, from texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as parts
from tests.encoders.families import add_tokenizer, save

from xopt.compile.build import BuildOptions, build_bundle
from xopt.model.core import Model

TEXTS = ["Habari za asubuhi", "Good morning, this sentence is a little longer than that.", "ya"]
PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Path:
    """As sentence-transformers writes it: mean, two Dense without bias, Normalize."""
    own = save(
        tmp_path_factory.mktemp("gemma"), "Gemma3Text", "embed", vocab_size=1200, hidden_size=48,
        num_attention_heads=3, num_key_value_heads=1, head_dim=32, num_hidden_layers=3,
        intermediate_size=80, max_position_embeddings=256, sliding_window=8,
        sliding_window_pattern=3, query_pre_attn_scalar=32, use_bidirectional_attention=True,
    )  # fmt: skip
    add_tokenizer(own, tokenizer_file)
    torch.manual_seed(2)
    identity = torch.nn.Identity()
    behind = [
        parts.Pooling(48),
        parts.Dense(48, 160, bias=False, activation_function=identity),
        parts.Dense(160, 48, bias=False, activation_function=identity),
        parts.Normalize(),
    ]
    model = SentenceTransformer(
        modules=[parts.Transformer(str(own)), *behind], device="cpu", prompts=PROMPTS
    )
    out = tmp_path_factory.mktemp("saved")
    model.save_pretrained(str(out), create_model_card=False)
    return out


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_answers_as_sentence_transformers_does(
    precision: str, folder: Path, tmp_path: Path
) -> None:
    wanted = BuildOptions(str(folder), precision, out=str(tmp_path / "bundle"))
    bundle = build_bundle(wanted, record=False).bundle
    assert bundle.manifest["parity"]["against"].startswith("sentence-transformers")
    library = SentenceTransformer(str(folder), device="cpu")
    rounded = SentenceTransformer(str(folder), device="cpu")
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.half().float())
    with Model.open(bundle) as model:
        for name in PROMPTS:
            theirs = library.encode(TEXTS, prompt_name=name)
            error = np.linalg.norm(model.encode(TEXTS, prompt_name=name) - theirs)
            bound = np.linalg.norm(rounded.encode(TEXTS, prompt_name=name) - theirs)
            assert error <= (1e-5 if precision == "fp32" else 1.5 * bound)
            assert bound > 1e-4
