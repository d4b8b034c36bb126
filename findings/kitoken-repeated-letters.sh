#!/usr/bin/env bash
# kitoken gives a tokenizer.json's ids for ordinary text, but where two cuts into the same pieces differ in rounding alone, as nn n and n nn, it may take the other one than tokenizers: a word with a letter three times gets other ids than its checkpoint was trained on.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet kitoken==0.11.1 tokenizers==0.23.3
"$tmp/venv/bin/python" - "$tmp/tokenizer.json" <<'PY'
import sys
from importlib.metadata import version

from kitoken import Kitoken
from tokenizers import Tokenizer, models, pre_tokenizers

pieces = [("<unk>", 0.0), ("▁", -8.812776), ("n", -9.667056), ("nn", -12.264903), ("a", -9.5)]
fast = Tokenizer(models.Unigram(pieces, 0))
fast.pre_tokenizer = pre_tokenizers.Metaspace()
fast.add_special_tokens(["<unk>"])
fast.save(sys.argv[1])
other = Kitoken.from_file(sys.argv[1])
print("kitoken", version("kitoken"), "tokenizers", version("tokenizers"))
names = [piece for piece, _ in pieces]
differ = []
for text in ("na", "nn", "nna", "nnn", "annn"):
    ours, theirs = fast.encode(text).ids, list(other.encode(text))
    print(text, [names[i] for i in ours], [names[i] for i in theirs])
    differ += [text] if ours != theirs else []
if "nnn" not in differ or {"na", "nn", "nna"} & set(differ):
    raise SystemExit(f"CHANGED: other ids for {differ}")
print("SEEN: the two agree on na, nn and nna, and not on nnn.")
PY
