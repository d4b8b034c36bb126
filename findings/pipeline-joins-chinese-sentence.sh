#!/usr/bin/env bash
# transformers: the token-classification pipeline with aggregation_strategy="first" or "max" makes one word of a whole Chinese sentence.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import warnings

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForTokenClassification, pipeline

text = "李四在上海工作"
pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)] + [(c, -2.0) for c in text]
inner = Tokenizer(models.Unigram(pieces, unk_id=3))
inner.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
)
torch.manual_seed(0)
names = {0: "O", 1: "B-PER", 2: "B-LOC"}
config = XLMRobertaConfig(
    vocab_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=64, initializer_range=2.0, id2label=names, label2id={v: k for k, v in names.items()},
)  # fmt: skip
model = XLMRobertaForTokenClassification(config).eval()
spans, warned = {}, set()
for strategy in ("none", "simple", "first", "max"):
    pipe = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy=strategy, ignore_labels=[])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spans[strategy] = [(e["start"], e["end"]) for e in pipe(text)]
    warned |= {str(w.message) for w in caught if "heuristic" in str(w.message)}
print("transformers", transformers.__version__)
print("expected    first and max join the pieces of one word; a Chinese character piece is no part of a longer word")
for strategy, found in spans.items():
    print(f"{strategy:7s} {len(found)} spans {found}")
print("seen        one word of the whole sentence; warnings:", *warned)
if len(spans["none"]) < 5 or any(len(spans[s]) > 2 or spans[s][-1] != (0, len(text)) for s in ("first", "max")):
    raise SystemExit("CHANGED: the sentence is no longer one word")
print("SEEN: a word ends only at a blank for this kind of tokenizer, so Chinese, Japanese and Thai get one label a sentence.")
PY
