#!/usr/bin/env bash
# SudachiPy gives words of no characters: ㍿ is 株式 over the sign and 会社 over nothing, so a word's surface can be an empty text.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet sudachipy==0.7.0 sudachidict-small==20261015
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from sudachipy import dictionary

text = "㍿リクルート"
with_words = dictionary.Dictionary(dict="small")
tokenizer = with_words.tokenizer() if hasattr(with_words, "tokenizer") else with_words.create()
words = [(m.surface(), m.begin(), m.end(), m.normalized_form()) for m in tokenizer.tokenize(text)]
print({name: version(name) for name in ("sudachipy", "sudachidict-small")})
print("expected    each word covers characters of the text; one sign that cannot be cut is one word")
print(text, words)
if [(w[0], w[1], w[2]) for w in words[:2]] != [("㍿", 0, 1), ("", 1, 1)]:
    raise SystemExit("CHANGED: no word is empty")
print("SEEN: a list of surfaces joined with blanks has a word less than the analysis, and labels per word no longer fit; filter by end() > begin().")
PY
