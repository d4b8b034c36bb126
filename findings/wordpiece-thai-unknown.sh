#!/usr/bin/env bash
# WordPiece gives one [UNK] for a Thai sentence of more than 100 characters, although each character is in the vocabulary.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers

phrase = "เราเดินทางไปเชียงใหม่ด้วยรถไฟ"
letters = sorted(set(phrase))
vocab = {"[UNK]": 0}
for c in letters:
    vocab[c] = len(vocab)
    vocab["##" + c] = len(vocab)
tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
print("tokenizers", tokenizers.__version__)
print("expected    one token a character, for each length: no character is unknown")
counts = {}
for text in (phrase * 3, (phrase * 4)[:100], (phrase * 4)[:101]):
    tokens = tokenizer.encode(text).tokens
    counts[len(text)] = len(tokens)
    print(len(text), "characters:", len(tokens), "tokens", tokens[:3])
if counts != {len(phrase) * 3: len(phrase) * 3, 100: 100, 101: 1}:
    raise SystemExit("CHANGED: words of more than 100 characters are no longer one unknown token")
print("SEEN: max_input_chars_per_word is 100, and scripts without blanks (Thai, Lao, Khmer, Burmese) have 'words' that long.")
PY
