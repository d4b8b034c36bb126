#!/usr/bin/env bash
# AutoTokenizer of a folder whose vocabulary file is missing gives a tokenizer of special tokens only, with no error: each word is unknown.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import json
import os
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "warning"
import tokenizers
import transformers
from transformers import AutoTokenizer

kinds = {"bert": "BertTokenizer", "xlm-roberta": "XLMRobertaTokenizer"}
seen = {}
for kind, cls in kinds.items():
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("config", {"model_type": kind}), ("tokenizer_config", {"tokenizer_class": cls})):
            with open(os.path.join(folder, f"{name}.json"), "w") as file:
                json.dump(content, file)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            words = set(tokenizer("guten Tag", add_special_tokens=False)["input_ids"])
            seen[cls] = (len(tokenizer), words == {tokenizer.unk_token_id})
        except Exception as error:
            seen[cls] = type(error).__name__
print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
print("folder      config.json and tokenizer_config.json; vocab.txt, sentencepiece.bpe.model, tokenizer.json are absent")
print("expected    an error for each class")
print("seen       ", seen, "(entries, all words unknown)")
if any(isinstance(seen[c], str) or not seen[c][1] for c in ("BertTokenizer", "XLMRobertaTokenizer")):
    raise SystemExit("CHANGED: a missing vocabulary is now an error")
print("SEEN: a partly downloaded or renamed checkpoint embeds each text of the same length alike; check len(tokenizer).")
PY
