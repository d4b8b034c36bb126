#!/usr/bin/env bash
# seqeval: the argument scheme has no effect without mode="strict", and gives no warning.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet seqeval==1.2.2 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

gold = [["B-LOC", "I-LOC", "O", "B-PER"]]
guess = [["I-LOC", "I-LOC", "O", "I-PER"]]  # in IOB2 an entity must begin with B-
none = float(f1_score(gold, guess))
scheme = float(f1_score(gold, guess, scheme=IOB2))
strict = float(f1_score(gold, guess, scheme=IOB2, mode="strict"))
print("seqeval", version("seqeval"))
print("expected    scheme=IOB2 counts by IOB2: F1 0")
print(f"seen        no scheme {none}, scheme=IOB2 {scheme}, scheme=IOB2 and mode='strict' {strict}")
if (none, scheme, strict) != (1, 1, 0):
    raise SystemExit("CHANGED: scheme alone now changes the score")
print("SEEN: a report that names IOB2 can be the lenient score; state the mode with each F1.")
PY
