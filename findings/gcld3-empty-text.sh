#!/usr/bin/env bash
# CLD3 with min_num_bytes=0, as in its example: an empty text and "12345" are Japanese with probability 0.78, marked reliable.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet cld3-py==3.1.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import gcld3

detector = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000)
seen = {}
for text in ("", "12345", "?!", "https://example.com", "This text is written in English."):
    answer = detector.FindLanguage(text)
    seen[text] = (answer.language, round(answer.probability, 2), answer.is_reliable)
print("cld3-py", version("cld3-py"))
print("expected    'und' or not reliable for a text without letters")
for text, answer in seen.items():
    print(f"{text!r:36}", answer)
if seen[""] != ("ja", 0.78, True) or seen["12345"] != seen[""] or seen["This text is written in English."][0] != "en":
    raise SystemExit("CHANGED: a text without letters is no longer Japanese")
print("SEEN: the Japanese part of a corpus fills with empty lines, prices and telephone numbers.")
PY
