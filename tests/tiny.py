"""Tiny checkpoints of random weights, of every head, with a small tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["save_checkpoint", "save_tokenizer"]

CLASSES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
}
HEADS = {
    "embed": "Model",
    "classify": "ForSequenceClassification",
    "tag": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "choice": "ForMultipleChoice",
}


def save_tokenizer(path: Path) -> None:
    """A small byte-level BPE over the calibration texts, with XLM-R's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    from xopt.calibrate.corpus import load_corpus

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for _, text in load_corpus().rows), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.save(str(path))


def save_checkpoint(
    folder: Path,
    tokenizer: Path,
    model_type: str = "xlm-roberta",
    head: str = "embed",
    seed: int = 0,
    labels: list[str] | None = None,
    **changes: Any,
) -> None:
    """Write a checkpoint into ``folder``; ``changes`` are values of its config."""
    import torch
    import transformers

    torch.manual_seed(seed)
    prefix = CLASSES[model_type]
    numbers: dict[str, Any] = {
        "vocab_size": 1200,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 130,
        "type_vocab_size": 2 if model_type == "bert" else 1,
        "pad_token_id": 1,
        "layer_norm_eps": 1e-5,
        # Larger than the usual 0.02, so that layers differ and attention is not uniform.
        "initializer_range": 0.1,
    }
    names = labels or ["a", "b", "c"]
    if head in ("classify", "tag"):
        numbers["id2label"] = dict(enumerate(names))
        numbers["label2id"] = {name: number for number, name in enumerate(names)}
    config = getattr(transformers, f"{prefix}Config")(**(numbers | changes))
    model = getattr(transformers, prefix + HEADS[head])(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    fast: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
    if model_type == "bert":
        # What BertTokenizer gives by itself; a model without it takes 0 for both texts.
        fast["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(fast))
