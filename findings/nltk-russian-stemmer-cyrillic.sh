#!/usr/bin/env bash
# nltk: SnowballStemmer("russian") writes Latin letters of a mixed word as Cyrillic (web-сайт is wеб-сайт, don’t is дон’т) and an apostrophe as ь; snowballstemmer keeps them.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet nltk==3.10.4 snowballstemmer==3.1.1
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import snowballstemmer
from nltk.stem.snowball import SnowballStemmer

nltk_stem, stem = SnowballStemmer("russian").stem, snowballstemmer.stemmer("russian").stemWord
words = ["объявления", "hello", "usb-кабель", "web-сайта", "it-компания", "covid-вирус", "don’t", "łódź", "'слово"]
print({name: version(name) for name in ("nltk", "snowballstemmer")})
print("expected    a stem is the beginning of its word; the two agree")
seen = {word: (nltk_stem(word), stem(word)) for word in words}
for word, (ours, theirs) in seen.items():
    print(f"{word:12} nltk {ours:14} snowballstemmer {theirs:14}", "" if word.startswith(ours) else "letters became Cyrillic")
if any(seen[word][0] != seen[word][1] for word in words[:2]):
    raise SystemExit("CHANGED: words of one alphabet differ")
if any(word.startswith(seen[word][0]) for word in words[2:]):
    raise SystemExit("CHANGED: Latin letters stay Latin")
if any(not word.startswith(theirs) for word, (_, theirs) in seen.items()):
    raise SystemExit("CHANGED: snowballstemmer rewrites letters")
print("SEEN: names and terms of a Russian text are no longer found by their letters, nor by another stemmer's index.")
PY
