#!/usr/bin/env bash
# RoFormerTokenizer's saved tokenizer.json is another tokenizer: what cuts Chinese into words cannot be written, so the file read alone gives [UNK] for a sentence.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3 rjieba==0.2.2
"$tmp/venv/bin/python" - <<'PY'
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

from tokenizers import Tokenizer
from transformers import RoFormerTokenizer

text = "今天天气非常好"
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "今", "天", "气", "非常", "好"]
own = RoFormerTokenizer(vocab={word: number for number, word in enumerate(words)})
before = own.tokenize(text)
with tempfile.TemporaryDirectory() as folder:
    own.save_pretrained(folder)
    path = Path(folder) / "tokenizer.json"
    alone = Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False).tokens
    cutter = json.loads(path.read_text(encoding="utf-8"))["pre_tokenizer"]
    again = RoFormerTokenizer.from_pretrained(folder).tokenize(text)
print({name: version(name) for name in ("transformers", "tokenizers", "rjieba")})
print("expected        one sequence of tokens from the class and from the file that it saves")
print("the class      ", before, "loaded again", again)
print("tokenizer.json ", alone, "pre_tokenizer", cutter)
if alone == before or before != again:
    raise SystemExit("CHANGED: the saved file cuts words as the class does")
print("SEEN: a server or an exporter that takes tokenizer.json alone answers every Chinese text as if it were unknown.")
PY
