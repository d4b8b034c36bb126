#!/usr/bin/env bash
# nagisa returns words of another text: NFKC is applied and blanks become U+3000, so the words are longer than the text and offsets do not fit.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet nagisa==0.3.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import nagisa

texts = ["ＡＢＣ１２円", "㌔と㍻", "iPhone X を買う"]
seen = {text: nagisa.tagging(text).words for text in texts}
print("nagisa", version("nagisa"))
print("expected    the words joined are the text (perhaps without its blanks)")
for text, words in seen.items():
    joined = "".join(words)
    print(f"{text!r} {len(text)} -> {words} {len(joined)}  same: {joined == text}")
if any("".join(words) == text for text, words in seen.items()) or "\u3000" not in seen["iPhone X を買う"]:
    raise SystemExit("CHANGED: nagisa now returns pieces of the text itself")
print("SEEN: labels aligned by character offsets slip from the first wide letter on.")
PY
