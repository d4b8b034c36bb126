#!/usr/bin/env bash
# Characters as readers see them: grapheme, uniseg and regex (\X) count Hindi and Khmer conjuncts differently; क्षत्रिय has 5, 3 and 3, ក្រុម 3, 3 and 2.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet grapheme==0.6.0 uniseg==0.10.1 regex==2026.11.19
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import grapheme
import regex
import uniseg.graphemecluster

words = ["é", "각", "นี้", "நிலா", "क्षत्रिय", "ক্ষমা", "ក្រុម", "မြန်မာ"]
seen = {
    word: (grapheme.length(word), len(list(uniseg.graphemecluster.grapheme_clusters(word))), len(regex.findall(r"\X", word)))
    for word in words
}
print({name: version(name) for name in ("grapheme", "uniseg", "regex")})
print("expected    three times the same: extended grapheme clusters of Unicode's annex 29")
for word, counts in seen.items():
    print(f"grapheme {counts[0]}  uniseg {counts[1]}  regex {counts[2]}  {word}")
if seen["நிலா"] != (2, 2, 2) or seen["क्षत्रिय"] != (5, 3, 3) or seen["ក្រុម"] != (3, 3, 2):
    raise SystemExit("CHANGED: the three agree, or disagree elsewhere")
print("SEEN: texts cut or scored by characters in one library do not fit the offsets of another; each follows its own Unicode version.")
PY
