#!/usr/bin/env bash
# indic-nlp-library: trivial_tokenize keeps 12.5 and 1,00,000 whole and cuts the same numbers into three and five tokens when they are in Devanagari, Bengali, Tamil or Gujarati digits.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet indic-nlp-library==0.92
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from indicnlp.tokenize.indic_tokenize import trivial_tokenize

numbers = ["12.5", "1,00,000", "10:30"]
digits = {"hi": "०१२३४५६७८९", "bn": "০১২৩৪৫৬৭৮৯", "ta": "௦௧௨௩௪௫௬௭௮௯", "gu": "૦૧૨૩૪૫૬૭૮૯"}
print("indic-nlp-library", version("indic-nlp-library"))
print("expected    a number is one token, in the digits of the language as in ASCII")
native = {}
for language, signs in digits.items():
    for number in numbers:
        same = number.translate(str.maketrans("0123456789", signs))
        tokens, native[language, number] = (trivial_tokenize(f"a {text} b", language)[1:-1] for text in (number, same))
        print(f"{language}  {number:9} {tokens}   {same} {native[language, number]}")
        if tokens != [number]:
            raise SystemExit("CHANGED: numbers in ASCII digits are cut")
if any(len(tokens) == 1 for tokens in native.values()):
    raise SystemExit("CHANGED: numbers in native digits are kept")
print("SEEN: amounts and times of one corpus are words or not by the digits they are written in. Map the digits to ASCII first.")
PY
