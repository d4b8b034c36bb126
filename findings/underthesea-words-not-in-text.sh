#!/usr/bin/env bash
# underthesea: word_tokenize returns words that the text does not hold: hoà becomes hòa, #y becomes '# y', and a word may reach over a line break.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet underthesea==9.5.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from underthesea import word_tokenize

print("underthesea", version("underthesea"))
print("expected    each word is a piece of the text, so its place can be found")
seen = {}
for text in ("hoà bình", "thuỷ chung", "xem #y nhé", "Tiến sĩ học\nsinh", "Hà Nội đẹp"):
    words = word_tokenize(text)
    seen[text] = [word for word in words if word not in text]
    print(f"{text!r:24} {words}  not in the text: {seen[text]}")
if [bool(missing) for missing in seen.values()] != [True, True, True, True, False]:
    raise SystemExit("CHANGED: the words are pieces of the text")
print("SEEN: str.find gives -1 for such a word; use_token_normalize=False keeps hoà, but not #y nor the line break.")
PY
