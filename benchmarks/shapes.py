"""Checkpoints of a known shape with random weights, for speed alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

# name -> layers, hidden, heads, intermediate
SHAPES = {
    "e5-small": (12, 384, 12, 1536),
    "xlm-r-base": (12, 768, 12, 3072),
    "xlm-r-large": (24, 1024, 16, 4096),
    # For trying out a benchmark where nothing is measured.
    "tiny": (2, 64, 2, 128),
}


def random_checkpoint(shape: str, folder: Path, *, tokenizer: bool = True) -> Path:
    """An XLM-R classifier of this shape with seeded random weights.

    Its tokenizer is multilingual-e5-small's; without ``tokenizer`` one of a single
    word stands in its place, and nothing is downloaded.
    """
    if (folder / "config.json").is_file():
        return folder
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    layers, hidden, heads, intermediate = SHAPES[shape]
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=250002,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        num_labels=3,
        pad_token_id=1,
    )
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    # Older converters ask for the field that transformers 5 no longer writes.
    path = folder / "config.json"
    raw = json.loads(path.read_text()) | {"position_embedding_type": "absolute"}
    path.write_text(json.dumps(raw, indent=2))
    if not tokenizer:
        model = {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}
        parts = [
            "truncation",
            "padding",
            "normalizer",
            "pre_tokenizer",
            "post_processor",
            "decoder",
        ]
        whole = {"version": "1.0", "added_tokens": [], **dict.fromkeys(parts), "model": model}
        (folder / "tokenizer.json").write_text(json.dumps(whole))
        return folder
    from xopt.compile.sources import PIP_E5, locate

    shutil.copyfile(locate(PIP_E5).folder / "tokenizer.json", folder / "tokenizer.json")
    tokens = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    text = json.dumps(tokens | {"tokenizer_class": "PreTrainedTokenizerFast"})
    (folder / "tokenizer_config.json").write_text(text)
    return folder
