#!/usr/bin/env bash
# indic-transliteration: Tamil is read with one stop per letter, the last of four: த is dha, ப bha, க gha, so தமிழ் (Tamil) is dhamiḻ and பாடம் (pāṭam) becomes भाढं in Devanagari; no lookup of Sanskrit or Hindi words can match.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet indic-transliteration==2.3.82
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from indic_transliteration import sanscript

# ISO 15919 writes க ச ட த ப as k c ṭ t p
words = {"தமிழ்": "tamiḻ", "பாடம்": "pāṭam", "கடல்": "kaṭal", "சென்னை": "ceṉṉai", "நன்றி": "naṉṟi"}
print("indic-transliteration", version("indic-transliteration"))
seen = {}
for word, iso in words.items():
    seen[word] = sanscript.transliterate(word, sanscript.TAMIL, sanscript.ISO)
    print(word, "expected", iso, "seen", seen[word], sanscript.transliterate(word, sanscript.TAMIL, sanscript.DEVANAGARI))
back = {iso: sanscript.transliterate(iso, sanscript.ISO, sanscript.TAMIL) for iso in words.values()}
print("the other way", back)
if seen["நன்றி"] != "naṉṟi" or sanscript.transliterate("ಕನ್ನಡ", sanscript.KANNADA, sanscript.ISO) != "kannaḍa":
    raise SystemExit("CHANGED: letters without that choice are wrong too")
if back["tamiḻ"] != "தமிழ்" or back["kaṭal"] != "கடல்":
    raise SystemExit("CHANGED: the other way is wrong too")
if seen["தமிழ்"] != "dhamiḻ" or seen["கடல்"] != "ghaḍhal" or not seen["பாடம்"].startswith("bhāḍha"):
    raise SystemExit("CHANGED: a Tamil stop has another letter")
print("SEEN: each k, c, ṭ, t, p of Tamil comes out as gh, jh, ḍh, dh, bh, with no error, and goes back as it was, so that")
print("      a test of the round trip passes.")
PY
