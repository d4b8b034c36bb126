#!/usr/bin/env bash
# Thai after NFKC (what XLM-R's SentencePiece does): sara am is two characters, and the dictionary of pythainlp no longer knows the words.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pythainlp==5.4.0
"$tmp/venv/bin/python" - <<'PY'
import unicodedata
from importlib.metadata import version

from pythainlp.tokenize import word_tokenize

text = "ทำงานน้ำแข็งกำลังทำอาหาร"
nfkc = unicodedata.normalize("NFKC", text)
before, after = word_tokenize(text), word_tokenize(nfkc)
back = word_tokenize(unicodedata.normalize("NFC", nfkc))
print("pythainlp", version("pythainlp"))
print("expected    the same words before and after NFKC: both look the same on screen")
print("text ", len(text), "characters", before)
print("NFKC ", len(nfkc), "characters", after)
print("NFC of that", back == before and "restores the words" or "does not restore the words")
if len(after) <= len(before) or back == before:
    raise SystemExit("CHANGED: words are now found after NFKC (or NFC restores them)")
print("SEEN: segment Thai before any NFKC step, and do not align its words with a decoded SentencePiece text.")
PY
