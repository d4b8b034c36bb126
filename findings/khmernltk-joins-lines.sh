#!/usr/bin/env bash
# khmernltk: a line break between two words vanishes: "Penh", a line break, "Siem" is one word "PenhSiem", although a blank in its place parts them.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet khmer-nltk==1.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from khmernltk import sentence_tokenize, word_tokenize

blank, line = "Phnom Penh Siem Reap", "Phnom Penh\nSiem Reap"
seen = [w for w in word_tokenize(line) if w.strip()]
kept = [w for w in word_tokenize(blank) if w.strip()]
sentences = sentence_tokenize(line)
print("khmer-nltk", version("khmer-nltk"))
print("expected    the same words, whether a blank or a line break parts them")
print("blank      ", kept)
print("line break ", seen, sentences)
if kept != ["Phnom", "Penh", "Siem", "Reap"] or seen != ["Phnom", "PenhSiem", "Reap"]:
    raise SystemExit("CHANGED: khmernltk now parts words at a line break")
print("SEEN: the last word of a line and the first of the next are one, so no dictionary or vocabulary has it.")
PY
