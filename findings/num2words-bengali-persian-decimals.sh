#!/usr/bin/env bash
# num2words: 1.05 in Bengali and Persian is the words of 1.5 (the zero after the point is lost; in Persian "one and a half"), and -5 in Bengali is five without its sign.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet num2words==0.5.14
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from num2words import CONVERTER_CLASSES, num2words

print("num2words", version("num2words"))
pairs = ((1.05, 1.5), (2.005, 2.5), (-5, 5))
for language in ("bn", "fa", "de", "ar", "th"):
    for number, other in pairs:
        words = num2words(number, lang=language)
        print(language, number, words, "the same as", other if words == num2words(other, lang=language) else "no other")
print("expected    other numbers, other words")
seen = {pair: [] for pair in pairs}
for language in CONVERTER_CLASSES:
    for pair in pairs:
        try:
            if num2words(pair[0], lang=language) == num2words(pair[1], lang=language):
                seen[pair].append(language)
        except Exception:  # a language that refuses such numbers gives no wrong words
            continue
print("languages with one text for two numbers", seen)
if any("de" in languages or "ar" in languages for languages in seen.values()):
    raise SystemExit("CHANGED: German or Arabic are wrong too")
if seen[(1.05, 1.5)] != ["bn", "fa"] or seen[(-5, 5)] != ["bn"]:
    raise SystemExit("CHANGED: these languages say the number")
print("SEEN: a price of 1.05 is read as 1.5, and minus five degrees as five, with no error.")
PY
