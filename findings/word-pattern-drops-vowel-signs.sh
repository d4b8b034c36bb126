#!/usr/bin/env bash
# The usual word pattern \w\w+ cuts Hindi, Bengali and Tamil words at their vowel signs and drops most of the letters.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet scikit-learn==1.9.1 bm25s==0.3.16
"$tmp/venv/bin/python" - <<'PY'
import bm25s
import sklearn
from sklearn.feature_extraction.text import CountVectorizer

analyse = CountVectorizer().build_analyzer()
texts = {"Hindi": "मैं हिन्दी में लिखता हूँ", "Bengali": "বাংলা ভাষা", "Tamil": "தமிழ் மொழி", "Russian": "русский язык"}
print("scikit-learn", sklearn.__version__, "bm25s", bm25s.__version__)
print("expected    as many terms as words of more than one letter")
seen = {}
for name, text in texts.items():
    other = bm25s.tokenize([text], stopwords=None, return_ids=False, show_progress=False)[0]
    seen[name] = (analyse(text), list(other))
    print(f"{name:8s} {len(text.split())} words; CountVectorizer {seen[name][0]}; bm25s {seen[name][1]}")
whole = [n for n, (a, b) in seen.items() if a == texts[n].split() or b == texts[n].split()]
if whole != ["Russian"] or seen["Bengali"] != ([], []):
    raise SystemExit("CHANGED: words of Indic scripts are now kept whole")
print("SEEN: Python's \\w has no combining marks. Topic words and BM25 beside a multilingual encoder are noise for these languages.")
PY
