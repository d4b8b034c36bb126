#!/usr/bin/env bash
# transformers: the feature-extraction pipeline with batch_size above 1 returns the rows of padding too, so a text's token mean depends on its batch; other pipelines of tokens drop them.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel, pipeline

pieces = ["<s>", "<pad>", "</s>", "<unk>", "one", "two", "three", "four"]
made = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
fast = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", model_input_names=["input_ids", "attention_mask"])
torch.manual_seed(0)
config = XLMRobertaConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=12)
extract = pipeline("feature-extraction", model=XLMRobertaModel(config).eval(), tokenizer=fast)
texts = ["one", "one two three four"]
alone, together = extract(texts), extract(texts, batch_size=2)
lengths = [[len(answer[0]) for answer in answers] for answers in (alone, together)]
real = (torch.tensor(alone[0][0]) - torch.tensor(together[0][0][: lengths[0][0]])).abs().max().item()
mean = (torch.tensor(alone[0][0]).mean(0) - torch.tensor(together[0][0]).mean(0)).abs().max().item()
print("transformers", transformers.__version__, "torch", torch.__version__)
print("expected    one row for each token of the text, [3, 6], however the texts are batched")
print(f"seen        batch_size 1: {lengths[0]}, batch_size 2: {lengths[1]}")
print(f"the short text's own rows differ by {real:.1e}, the mean of its rows by {mean:.2f}")
if lengths != [[3, 6], [6, 6]] or real > 1e-5 or mean < 0.01:
    raise SystemExit("CHANGED: rows of padding are left out")
print("SEEN: embeddings pooled from the pipeline change with batch_size; cut each answer to its text's number of tokens.")
PY
