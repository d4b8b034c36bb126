#!/usr/bin/env bash
# hazm: Normalizer writes 12.5 as three words (the decimal sign between blanks), and its WordTokenizer cuts a Persian decimal in three, but not a Latin one.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet hazm==0.10.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from hazm import Normalizer, WordTokenizer

print("hazm", version("hazm"))
print("expected    a number stays one word: 12.5 becomes ۱۲٫۵")
numbers = ("12.5", "۱۲٫۵", "0.75")
normalize, tokenize = Normalizer().normalize, WordTokenizer().tokenize
normal = {n: normalize(f"دما {n} درجه است") for n in numbers}
words = {n: tokenize(f"دما {n} درجه است") for n in numbers}
for n in numbers:
    print(f"{n:6} normalized {normal[n]!r}, words of the text as it was {words[n]}")
if any("٫" not in text.split() for text in normal.values()) or "12.5" not in words["12.5"] or "۱۲٫۵" in words["۱۲٫۵"]:
    raise SystemExit("CHANGED: a decimal number is one word")
print("SEEN: the sign is put in by persian_style and then set apart as punctuation; with persian_style=False 12.5 is ۱۲.۵, but ۱۲٫۵ is still cut.")
PY
