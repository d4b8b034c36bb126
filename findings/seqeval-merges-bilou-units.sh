#!/usr/bin/env bash
# seqeval without a scheme reads BILOU tags and joins entities of one word: two U-PER in a row are one person.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet seqeval==1.2.2 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU

gold = [["U-PER", "U-PER", "O"]]  # two people
guess = [["B-PER", "L-PER", "O"]]  # one person of two words: wrong twice
loose = float(f1_score(gold, guess))
strict = float(f1_score(gold, guess, mode="strict", scheme=BILOU))
print("seqeval", version("seqeval"))
print("expected    F1 0: no predicted span is a gold span")
print("seen        entities", get_entities(gold[0]), f"F1 {loose}; with mode='strict', scheme=BILOU {strict}")
if loose != 1 or strict != 0:
    raise SystemExit("CHANGED: U- tags are now entities of their own by default")
print("SEEN: S- of IOBES is handled, U- and L- of BILOU are not; a UserWarning about the tag is the only sign.")
PY
