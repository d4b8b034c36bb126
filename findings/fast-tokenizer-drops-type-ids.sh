#!/usr/bin/env bash
# transformers: PreTrainedTokenizerFast gives no token_type_ids, so a BERT pair model reads both texts as the first one.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "guten", "Tag", "bon", "jour"]
inner = Tokenizer(models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
inner.pre_tokenizer = pre_tokenizers.Whitespace()
inner.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
names = {"tokenizer_object": inner, "pad_token": "[PAD]", "unk_token": "[UNK]"}
pair = ("guten Tag", "bon jour")
expected = inner.encode(*pair).type_ids
seen = PreTrainedTokenizerFast(**names)(*pair)
named = PreTrainedTokenizerFast(**names, model_input_names=["input_ids", "token_type_ids", "attention_mask"])(*pair)
print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
print("expected    token_type_ids", expected, "(the template numbers the second text 1)")
print("seen       ", list(seen), "| with model_input_names", named.get("token_type_ids"))
if "token_type_ids" in seen or named.get("token_type_ids") != expected:
    raise SystemExit("CHANGED: the type ids of the template now reach the caller")
print("SEEN: a BERT model takes 0 where the ids are absent; a reranker then scores pairs that it never saw in training.")
PY
