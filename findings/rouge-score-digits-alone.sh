#!/usr/bin/env bash
# rouge-score keeps only a-z and 0-9: a Chinese or Hindi text with itself scores 0, and two unrelated ones with the same number in them score 1; "mañana" is the words "ma" and "ana".
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet rouge-score==0.1.2
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from rouge_score import rouge_scorer

scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"])
print("rouge-score", version("rouge-score"))
print("expected    a text with itself 1, two texts that share a number alone little")
pairs = {
    "equal": ("今天天气很好", "今天天气很好"),
    "equal, Hindi": ("मौसम अच्छा है", "मौसम अच्छा है"),
    "other words": ("2024年公司亏损严重", "2024年天气很好"),
    "other words, Hindi": ("दुकान 5 बजे खुली", "ट्रेन 5 दिन बंद"),
    "English": ("shop opens at 5", "train closed 5 days"),
    "accent": ("mañana", "ma ana"),
}
seen = {}
for name, (target, prediction) in pairs.items():
    scores = scorer.score(target, prediction)
    seen[name] = (scores["rouge1"].fmeasure, scores["rougeL"].fmeasure)
    print(f"{name:18} {target} / {prediction}: ROUGE-1 and ROUGE-L", seen[name])
if seen["equal"] != (0, 0) or seen["equal, Hindi"] != (0, 0):
    raise SystemExit("CHANGED: words of other scripts are counted")
if seen["other words"] != (1, 1) or seen["other words, Hindi"] != (1, 1) or seen["accent"] != (1, 1):
    raise SystemExit("CHANGED: the number alone does not decide")
print("SEEN: in other scripts the score is that of the numbers and Latin names. Pass RougeScorer(tokenizer=...) with words of the language.")
PY
