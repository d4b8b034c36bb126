#!/usr/bin/env bash
# encode_batch_fast leaves out the offsets, as it says; it also loses word_ids, so word labels cannot be aligned.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers

tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "Haus": 1, "##tür": 2, "zu": 3}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
words = [["Haustür", "zu"]]
slow = tokenizer.encode_batch(words, is_pretokenized=True)[0]
fast = tokenizer.encode_batch_fast(words, is_pretokenized=True)[0]
print("tokenizers", tokenizers.__version__)
print("expected    the same ids and word_ids, only the offsets are zero")
print("encode_batch     ", slow.ids, slow.word_ids, slow.offsets)
print("encode_batch_fast", fast.ids, fast.word_ids, fast.offsets)
if slow.ids != fast.ids or slow.word_ids != [0, 0, 1]:
    raise SystemExit("CHANGED: the two calls no longer give the same ids")
if any(w is not None for w in fast.word_ids):
    raise SystemExit("CHANGED: encode_batch_fast now keeps word_ids")
print("SEEN: every word id is None, also when the words were given apart: each token looks like a special token.")
PY
