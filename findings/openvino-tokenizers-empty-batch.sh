#!/usr/bin/env bash
# A tokenizer converted to OpenVINO answers a batch of empty texts with one row, whatever the batch: ["", ""] gives shape (1, 2), and the ids no longer fit the texts.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet openvino-tokenizers==2026.4.1.0 openvino==2026.4.1 transformers==5.23.0 tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
from importlib.metadata import version

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import openvino
from openvino_tokenizers import convert_tokenizer

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world"])}
tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer()
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")
compiled = openvino.Core().compile_model(convert_tokenizer(fast), "CPU")
batches = [["hello", "hello world"], ["", "hello"], ["", ""], ["", "", "", ""], [" ", "\n"]]
seen = [(fast(batch, padding=True)["input_ids"], compiled(batch)["input_ids"].tolist()) for batch in batches]
print({name: version(name) for name in ("openvino-tokenizers", "openvino", "transformers")})
print("expected    as many rows as texts")
for batch, (before, after) in zip(batches, seen, strict=True):
    print(f"{batch!s:28} transformers {before}  openvino {after}")
if [len(after) for _, after in seen] != [2, 2, 1, 1, 2]:
    raise SystemExit("CHANGED: a batch of empty texts now keeps its rows")
print("SEEN: a batch of empty fields makes the embeddings one row long, and what is zipped with them slips or is cut.")
PY
