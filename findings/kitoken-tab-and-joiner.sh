#!/usr/bin/env bash
# kitoken reads a SentencePiece model and does not normalise as it does: a tab is unknown instead of a blank, and a zero-width joiner becomes a blank.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet kitoken==0.11.1 sentencepiece==0.2.3
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
from importlib.metadata import version

import kitoken
import sentencepiece

texts = ["one\ttwo", "one two", "one\ntwo", "one\u00a0two", "one\u3000two", "ＡＢ two", "👩\u200d👧 two"]
with tempfile.TemporaryDirectory() as folder:
    corpus = os.path.join(folder, "c.txt")
    with open(corpus, "w", encoding="utf-8") as file:
        file.write("\n".join(["one two", "AB two", "👩\u200d👧 two", "on to we"] * 20))
    prefix = os.path.join(folder, "m")
    options = {"vocab_size": 60, "hard_vocab_limit": False, "character_coverage": 1.0, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(input=corpus, model_prefix=prefix, **options)
    reference = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    other = kitoken.Kitoken.from_file(prefix + ".model")
seen = {}
for text in texts:
    ids = [int(i) for i in other.encode(text, False)]
    seen[text] = (reference.encode(text, out_type=str), [reference.id_to_piece(i) for i in ids])
print("kitoken", version("kitoken"), "sentencepiece", sentencepiece.__version__)
print("expected    the pieces of sentencepiece")
for text, (right, got) in seen.items():
    print(f"{text!r:22} sentencepiece {right} kitoken {got} {'same' if right == got else 'DIFFERENT'}")
different = [text for text, (right, got) in seen.items() if right != got]
if different != ["one\ttwo", "👩\u200d👧 two"]:
    raise SystemExit("CHANGED: kitoken now normalises as sentencepiece does, or differs on other texts")
print("SEEN: tables pasted into a text give <unk> at each tab, and joined emoji and Sinhala or Malayalam conjuncts are torn apart.")
PY
