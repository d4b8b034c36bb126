#!/usr/bin/env bash
# tokie reads XLM-R's tokenizer.json (Unigram, "<s> $A </s>") and leaves the closing </s> out; a pair is "<s> A <s> B", with type ids 0 and 1.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tokie==0.1.4 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
from importlib.metadata import version

import tokenizers
import tokie
from tokenizers import Tokenizer, models, pre_tokenizers, processors

pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁hello", "▁world", "▁", *"abcdefghijklmnopqrstuvwxyz", "<mask>"]
tokenizer = Tokenizer(models.Unigram([(p, -float(i > 3)) for i, p in enumerate(pieces)], unk_id=3))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
template = {"single": "<s> $A </s>", "pair": "<s> $A </s> </s> $B </s>", "special_tokens": [("<s>", 0), ("</s>", 2)]}
tokenizer.post_processor = processors.TemplateProcessing(**template)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "tokenizer.json")
    tokenizer.save(path)
    other = tokie.Tokenizer.from_json(path)
single = tokenizer.encode("hello world").ids, list(other.encode("hello world").ids)
pair = tokenizer.encode("hello", "world"), other.encode_pair("hello", "world")
print("tokie", version("tokie"), "tokenizers", tokenizers.__version__)
print("expected    the ids of tokenizers:", single[0], "pair", pair[0].ids, "types", pair[0].type_ids)
print("seen       ", single[1], "pair", list(pair[1].ids), "types", list(pair[1].type_ids))
if single[0] != [0, 4, 5, 2] or single[1] != [0, 4, 5] or 2 in pair[1].ids:
    raise SystemExit("CHANGED: the closing token is now added")
print("SEEN: embeddings shift a little for each text (mean pooling) and no error tells of it; WordPiece files keep their [SEP].")
PY
