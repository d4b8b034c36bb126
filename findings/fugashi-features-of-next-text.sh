#!/usr/bin/env bash
# fugashi: a word's surface is kept, its feature, pos and is_unk are read later from memory that the next parse overwrites: words of a first text get lemma and part of speech of the second.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet fugashi==1.5.2 unidic-lite==1.0.8
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import fugashi

tagger = fugashi.Tagger()
print({name: version(name) for name in ("fugashi", "unidic-lite")})
print("expected    the words of the first text keep their lemma and part of speech when a second text is parsed")
right = [(word.surface, word.feature.lemma, word.pos.split(",")[0]) for word in tagger("東京へ行く")]
words = tagger("東京へ行く")
tagger("彼は本を読んだ")
late = [(word.surface, word.feature.lemma, word.pos.split(",")[0]) for word in words]
print("read at once             ", right)
print("read after the next parse", late)
if [w[0] for w in late] != [w[0] for w in right]:
    raise SystemExit("CHANGED: the surfaces differ")
if late == right:
    raise SystemExit("CHANGED: the features are those of the first text")
print("SEEN: [tagger(text) for text in texts] mixes words of one text with tags of another. Read all you need before the next parse.")
PY
