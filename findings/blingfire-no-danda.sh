#!/usr/bin/env bash
# blingfire: text_to_sentences ends a sentence at the Chinese and the Urdu full stop, not at the danda of Hindi and Bengali nor at the Armenian, Burmese and Ethiopic stops.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet blingfire==0.1.8 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from blingfire import text_to_sentences

texts = {
    "English": "This is good. That is bad.",
    "Chinese": "这是好的。那是坏的。",
    "Urdu": "یہ اچھا ہے۔ وہ برا ہے۔",
    "Hindi": "यह अच्छा है। वह बुरा है।",
    "Bengali": "এটা ভালো। ওটা খারাপ।",
    "Armenian": "Սա լավ է։ Դա վատ է։",
    "Burmese": "ဒါကောင်းတယ်။ ဟိုဟာဆိုးတယ်။",
    "Amharic": "ይህ ጥሩ ነው። ያ መጥፎ ነው።",
}
seen = {language: len(text_to_sentences(text).split("\n")) for language, text in texts.items()}
print("blingfire", version("blingfire"))
print("expected    2 sentences each: Unicode counts all of these stops as sentence terminals")
print("seen       ", seen)
whole = [language for language, count in seen.items() if count == 1]
if whole != ["Hindi", "Bengali", "Armenian", "Burmese", "Amharic"]:
    raise SystemExit("CHANGED: the stops of these scripts end a sentence")
print("SEEN: a document in such a language is one sentence, and an encoder cuts all but its beginning.")
PY
