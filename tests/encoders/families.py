"""Random small checkpoints of every family, and batches of random tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

from xopt.packing import Encoding

HEADS = {
    "embed": "Model",
    "mlm": "ForMaskedLM",
    "classify": "ForSequenceClassification",
    "tag": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "choice": "ForMultipleChoice",
}
VOCABULARY = 97


def save(folder: Path, prefix: str, head: str, seed: int = 0, **numbers: Any) -> Path:
    """A checkpoint as transformers writes it, with random weights and biases that are not 0.

    Args:
        folder: an existing one.
        prefix: of the classes, such as ``DistilBert``.
        head: a key of :data:`HEADS`.
        seed: of the weights.
        numbers: of the config.
    """
    torch.manual_seed(seed)
    common: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "pad_token_id": 1,
        "num_labels": 2 + (head != "span"),
    }
    config = getattr(transformers, f"{prefix}Config")(**(common | numbers))
    model = getattr(transformers, prefix + HEADS[head])(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
            elif parameter.dim() == 1:
                parameter.normal_(1, 0.2)
            else:
                # Larger than an initialisation, so that attention is not uniform.
                parameter.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    # Encodes nothing here, but a checkpoint has one.
    words = tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>")
    tokenizers.Tokenizer(words).save(str(folder / "tokenizer.json"))
    if prefix == "RoFormer":
        # Its own class cuts words by code.
        facts = {"tokenizer_class": "PreTrainedTokenizerFast"}
        (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return folder


def add_tokenizer(folder: Path, tokenizer: Path, **more: Any) -> None:
    """A tokenizer.json of texts in the place of the one that encodes nothing.

    Args:
        folder: of the checkpoint.
        tokenizer: the file.
        more: of tokenizer_config.json.
    """
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", **more}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))


def tokens(
    lengths: Sequence[int], seed: int = 0, *, types: int = 1, least: int = 2
) -> list[Encoding]:
    """Sentences of random tokens and types.

    Args:
        lengths: of the sentences.
        seed: of the tokens.
        types: token types there are.
        least: the smallest id; 1 is padding, as a text may name it.
    """
    generator = np.random.default_rng(seed)
    return [
        Encoding(
            generator.integers(least, VOCABULARY, n).astype(np.int32),
            generator.integers(0, types, n).astype(np.int32),
        )
        for n in lengths
    ]
