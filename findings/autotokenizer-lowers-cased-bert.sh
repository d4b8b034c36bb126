#!/usr/bin/env bash
# AutoTokenizer: a BERT folder whose tokenizer.json is cased is lowered, and loses its accents, when there is no tokenizer_config.json.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import tokenizers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerFast

pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Über", "Berlin", "uber", "berlin"]
tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
text = "Über Berlin"
with tempfile.TemporaryDirectory() as folder:
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    BertConfig(vocab_size=len(pieces)).save_pretrained(folder)
    auto = AutoTokenizer.from_pretrained(folder)
    plain = PreTrainedTokenizerFast.from_pretrained(folder)
file, seen, fast = tokenizer.encode(text).tokens, auto.tokenize(text), plain.tokenize(text)
print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
print("expected   ", file, "(tokenizer.json says lowercase: false, strip_accents: false)")
print("seen        AutoTokenizer", seen, type(auto).__name__, "| PreTrainedTokenizerFast", fast)
if fast != file or seen == file:
    raise SystemExit("CHANGED: AutoTokenizer now keeps the normalizer of tokenizer.json")
print("SEEN: the class of config.json's model_type brings its own default, do_lower_case=True, over the file's step; no warning.")
PY
