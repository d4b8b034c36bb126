#!/usr/bin/env bash
# torchmetrics: chrF of a text of less than six characters with itself is less than 1 (a Chinese word of two: 0.33); sacrebleu, whose method it names, gives 100.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 torchmetrics==1.9.0 sacrebleu==2.6.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from sacrebleu.metrics import CHRF
from torchmetrics.text import CHRFScore

print({name: version(name) for name in ("torch", "torchmetrics", "sacrebleu")})
print("expected    a text that equals its reference scores 1; n-grams longer than both texts do not count")
seen = {}
for text in ("今天", "안녕", "yes", "today", "今天天气很好"):
    ours = round(CHRFScore(n_word_order=0)([text], [[text]]).item(), 4)
    seen[text] = (ours, CHRF(word_order=0).corpus_score([text], [[text]]).score)
    print(f"{text!r:16} torchmetrics {seen[text][0]}, sacrebleu {seen[text][1]:.0f} of 100")
*short, long = seen.values()
if long[0] != 1 or any(one >= 1 or other < 99.99 for one, other in short) or seen["今天"][0] != 0.3333:
    raise SystemExit("CHANGED: orders that neither text has are left out")
print("SEEN: six orders are averaged whether the texts have them or not, so short answers and languages with short words lose most.")
PY
