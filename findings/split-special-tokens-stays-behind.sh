#!/usr/bin/env bash
# transformers and tokenizers: split_special_tokens is saved in tokenizer_config.json alone; whoever reads tokenizer.json makes other tokens.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import tempfile

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

pieces = ["[UNK]", "[CLS]", "[SEP]", "[", "SEP", "]", "one", "two"]
made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(pieces)}, unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
frame = [("[CLS]", 1), ("[SEP]", 2)]
made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=frame)
with tempfile.TemporaryDirectory() as folder:
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", split_special_tokens=True
    ).save_pretrained(folder)
    text = "one [SEP] two"
    library = transformers.AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    alone = Tokenizer.from_file(f"{folder}/tokenizer.json").encode(text).ids
print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
print("expected    the saved tokenizer.json holds what the tokenizer does")
print("AutoTokenizer  ", library)
print("tokenizer.json ", alone)
if library != [1, 6, 3, 4, 5, 7, 2] or alone != [1, 6, 2, 7, 2]:
    raise SystemExit("CHANGED: both read the name of a special token alike")
print("SEEN: a text that names [SEP] gets a separator in the middle wherever tokenizer.json is read by itself (servers, exporters).")
PY
