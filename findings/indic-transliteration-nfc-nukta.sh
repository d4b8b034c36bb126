#!/usr/bin/env bash
# indic-transliteration: Bengali, Odia and Gurmukhi letters with a dot in the form that Unicode NFC gives (ড + dot) are not known: বাড়ি is "vāḍa়i" and পড়ুয়া "paḍa়uya়ā", vowels apart; composed letters, which NFC never leaves, are right.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet indic-transliteration==2.3.82
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version
from unicodedata import normalize

from indic_transliteration import sanscript

print("indic-transliteration", version("indic-transliteration"))
# Normalised text (NFC, the form of the web and of most corpora) never holds the composed letters: they are excluded.
composed = {"bengali": "\u09ac\u09be\u09dc\u09bf", "gurmukhi": "\u0a5b\u0a2e\u0a40\u0a28", "oriya": "\u0b13\u0b5c\u0b3f\u0b06"}
seen = {}
for script, word in composed.items():
    seen[script] = [
        sanscript.transliterate(form, getattr(sanscript, script.upper()), sanscript.ISO)
        for form in (word, normalize("NFC", word))
    ]
    print(script, word, "composed", ascii(seen[script][0]), seen[script][0], "NFC", ascii(seen[script][1]), seen[script][1])
word = "\u0932\u0921\u093c\u0915\u093e"
hindi = sanscript.transliterate(normalize("NFC", word), sanscript.DEVANAGARI, sanscript.ISO)
print("devanagari", word, "NFC", hindi)
again = sanscript.transliterate(seen["bengali"][1], sanscript.ISO, sanscript.BENGALI)
print("expected    the same Latin text for both forms; the Bengali word back:", again, "of", normalize("NFC", composed["bengali"]))
if hindi != "laṛakā":
    raise SystemExit("CHANGED: Hindi in NFC is wrong too")
if seen["bengali"][0] == seen["bengali"][1] or "\u09bc" not in seen["bengali"][1]:
    raise SystemExit("CHANGED: Bengali in NFC is read")
if again == normalize("NFC", composed["bengali"]):
    raise SystemExit("CHANGED: the round trip is right")
print("SEEN: a Bengali sign is left inside the Latin word, an 'a' that is not there is written before it, and the word does")
print("      not come back; of Devanagari both forms are read.")
PY
