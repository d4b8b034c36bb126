#!/usr/bin/env bash
# curated-transformers: its BERTTokenizer parts words at the ASCII blank only: two words with a line break, a tab, U+00A0 or U+3000 between them are one [UNK], as is an emoji of several persons.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 curated-transformers==2.0.1 curated-tokenizers==2.0.1 huggingface_hub==0.36.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from importlib.metadata import version
from pathlib import Path

from curated_transformers.repository.file import LocalFile
from curated_transformers.tokenizers.legacy.bert_tokenizer import BERTTokenizer
from tokenizers import BertWordPieceTokenizer

pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "guten", "tag", "今", "👨", "##👩"]
texts = ["guten tag", "guten\ntag", "guten\ttag", "guten\u00a0tag", "guten\u3000tag", "👨\u200d👩"]
seen = {}
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "vocab.txt")
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    usual = BertWordPieceTokenizer(str(path), lowercase=True)
    other = BERTTokenizer.from_files(vocab_file=LocalFile(path), lowercase=True, strip_accents=True)
    for text in texts:
        seen[text] = usual.encode(text).tokens, other([text]).pieces[0]
        print(f"{text!r:20} tokenizers {seen[text][0]}, curated-transformers {seen[text][1]}")
print({name: version(name) for name in ("curated-transformers", "curated-tokenizers", "tokenizers", "torch")})
print("expected    the same pieces: BERT's tokenizer treats each of these as white space, and drops the joiner")
first, *rest = seen.values()
if first[0] != first[1] or any("[UNK]" in a or b != ["[CLS]", "[UNK]", "[SEP]"] for a, b in rest):
    raise SystemExit("CHANGED: words are parted at all white space")
print('SEEN: a document read line by line loses two words at each break. Give it " ".join(text.split()).')
PY
