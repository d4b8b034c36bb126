#!/usr/bin/env bash
# transformers: whole_word_mask joins tokens whose offsets touch; with a tokenizer that counts the blank to the word (DeBERTa-v3, ModernBERT) a sentence is one word, masked as a whole or not at all.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
from importlib.metadata import version

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from tokenizers import Tokenizer, models, pre_tokenizers

from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

special = ["[PAD]", "[UNK]", "[MASK]"]
split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
shapes = {
    "BERT": ("", pre_tokenizers.BertPreTokenizer()),
    "XLM-R": ("▁", split),
    "DeBERTa-v3": ("▁", pre_tokenizers.Metaspace()),
    "ModernBERT": ("Ġ", pre_tokenizers.ByteLevel(add_prefix_space=True)),
}
seen = {}
for name, (mark, cut) in shapes.items():
    vocabulary = {token: i for i, token in enumerate([*special, *(mark + word for word in ("one", "two", "three", "four", "five", "six"))])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = cut
    fast = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]", model_input_names=["input_ids"])
    row = dict(fast("one two three four five six", return_offsets_mapping=True, return_special_tokens_mask=True))
    collate = DataCollatorForLanguageModeling(fast, mlm_probability=0.3, whole_word_mask=True, return_tensors="np", seed=0)
    masked = [int((collate([dict(row)])["labels"] != -100).sum()) for _ in range(300)]
    seen[name] = sorted(set(masked))
print({name: version(name) for name in ("transformers", "tokenizers")})
print("expected    of six words with probability 0.3, from 0 to 4 or more are masked, most often 1 or 2")
for name, counts in seen.items():
    print(f"{name:11} masked words in 300 draws: {counts}")
if not {0, 1, 2, 3} <= set(seen["BERT"]) & set(seen["XLM-R"]) or seen["DeBERTa-v3"] != [0, 6] or seen["ModernBERT"] != [0, 6]:
    raise SystemExit("CHANGED: words are told apart by more than touching offsets")
print("SEEN: such a model is trained further on sentences that are all mask or have no mask, and the loss says nothing.")
PY
