#!/usr/bin/env bash
# pysbd with clean=False leaves sentences out when the text holds a sign that it uses inside as a stand-in (the musical flat, the contour integral).
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pysbd==0.3.4
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import pysbd

segmenter = pysbd.Segmenter(language="en", clean=False)
texts = ["The sonata is in B major. It ends softly.", "The sonata is in B ♭ major. It ends softly.", "The value of ∯ F dS is zero. We use it below."]
seen = {text: segmenter.segment(text) for text in texts}
print("pysbd", version("pysbd"))
print("expected    the sentences joined are the text, as clean=False promises")
for text, sentences in seen.items():
    print(f"{text!r} -> {sentences}")
plain, flat, integral = ("".join(sentences) == text for text, sentences in seen.items())
if not plain or flat or integral:
    raise SystemExit("CHANGED: the text is kept whole")
print("SEEN: a corpus cut into sentences loses those with such signs, and counts and offsets no longer fit the documents.")
PY
