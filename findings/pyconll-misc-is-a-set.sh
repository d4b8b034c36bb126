#!/usr/bin/env bash
# pyconll: a value of MISC or FEATS is a set of what stands between commas: written back, the gloss "to go, to walk" is " to walk,to go", Translit=, is empty, and of a key that is there twice only the last stays.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pyconll==3.3.1
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import pyconll

values = ["Gloss=to go, to walk", "Translit=,", "Note=1,2,10", "Gloss=yes,yes", "Ref=a|Ref=b", "SpaceAfter=No", "Gloss=go"]
print("pyconll", version("pyconll"))
print("expected    a file that is read and written is the same file")
back = {}
for value in values:
    text = "\t".join(["1", "x", "x", "PUNCT", "_", "_", "0", "root", "_", value]) + "\n\n"
    back[value] = pyconll.load_from_string(text).conll().rstrip("\n").split("\t")[-1]
    print(f"MISC {value!r:24} written back {back[value]!r}", "" if back[value] == value else "  differs")
if any(back[value] == value for value in values[:5]):
    raise SystemExit("CHANGED: the values come back as they were")
if any(back[value] != value for value in values[5:]):
    raise SystemExit("CHANGED: values without a comma differ too")
print("SEEN: glosses and transliterations of a treebank change when it is only split or filtered. Copy the lines, or use udapi or ufal.udpipe, which keep them.")
PY
