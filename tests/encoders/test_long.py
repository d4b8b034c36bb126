"""A text of 8,192 tokens through the shape of bge-m3: XLM-R with a long table, cls, Normalize."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.encoders.families import add_tokenizer, save

from xopt.calibrate.corpus import load_corpus
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.model.core import Model

TOKENS = 8192


def bge_m3(folder: Path, tokenizer: Path) -> Path:
    """The files of the checkpoint's repository, at a small width."""
    save(
        folder, "XLMRoberta", "embed", vocab_size=1200, hidden_size=32, num_hidden_layers=1,
        num_attention_heads=1, intermediate_size=48, max_position_embeddings=TOKENS + 2,
    )  # fmt: skip
    add_tokenizer(folder, tokenizer, model_max_length=TOKENS)
    (folder / "modules.json").write_text(
        '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},'
        '{"idx": 1, "name": "1", "path": "1_Pooling", '
        '"type": "sentence_transformers.models.Pooling"},'
        '{"idx": 2, "name": "2", "path": "2_Normalize", '
        '"type": "sentence_transformers.models.Normalize"}]'
    )
    (folder / "sentence_bert_config.json").write_text(
        f'{{"max_seq_length": {TOKENS}, "do_lower_case": false}}'
    )
    pooling = folder / "1_Pooling"
    pooling.mkdir()
    (pooling / "config.json").write_text(
        '{"word_embedding_dimension": 32, "pooling_mode_cls_token": true, '
        '"pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false, '
        '"pooling_mode_mean_sqrt_len_tokens": false}'
    )
    return folder


def test_a_text_of_8192_tokens_is_embedded_as_sentence_transformers_does(
    tmp_path: Path, tokenizer_file: Path
) -> None:
    import sentence_transformers

    folder = bge_m3(tmp_path, tokenizer_file)
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.text.max_tokens == TOKENS
    assert checkpoint.head.pooling == ("cls",)
    whole = sentence_transformers.SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"attn_implementation": "sdpa"}
    )
    rows = " ".join(text for _, text in load_corpus().rows)
    # The longest beginning that still fits: each word has a token at least.
    words = rows.split(" ")
    low, high = 1, TOKENS
    while high - low > 1:
        middle = (low + high) // 2
        fits = len(whole.tokenizer(" ".join(words[:middle]))["input_ids"]) <= TOKENS
        low, high = (middle, high) if fits else (low, middle)
    long, longer = " ".join(words[:low]), rows
    assert len(whole.tokenizer(long)["input_ids"]) > TOKENS - 50
    texts = [long, "short", longer]
    expected = whole.encode(texts, batch_size=1)
    options = BuildOptions(
        checkpoint=str(folder), precision="fp32", calibration_tokens=1000, out=str(folder / "out")
    )
    with Model.open(build_bundle(options, record=False).bundle) as model:
        found = model.encode(texts, truncate=True)
        alone = model.encode([long])
    assert np.abs(found - expected).max() <= 1e-4
    assert np.abs(found[:1] - alone).max() <= 1e-4
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
