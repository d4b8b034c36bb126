#!/usr/bin/env bash
# chrF++ (sacrebleu, word_order=2) splits off ASCII punctuation only: a blank before the Hindi danda or the Arabic comma costs points, one before an English stop does not.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet sacrebleu==2.6.0
"$tmp/venv/bin/python" - <<'PY'
import sacrebleu
from sacrebleu import CHRF

metric = CHRF(word_order=2)
pairs = {
    "English .": ("he went home today.", "he went home today ."),
    "Hindi ।": ("वह आज घर गया।", "वह आज घर गया ।"),
    "Arabic ،": ("نعم، شكرا جزيلا", "نعم ، شكرا جزيلا"),
    "Chinese 。": ("今天 天气 很好。", "今天 天气 很好 。"),
}
seen = {name: round(metric.sentence_score(a, [b]).score, 1) for name, (a, b) in pairs.items()}
plain = {name: round(CHRF().sentence_score(a, [b]).score, 1) for name, (a, b) in pairs.items()}
print("sacrebleu", sacrebleu.__version__)
print("expected    100 for all four: chrF takes no notice of blanks, and chrF++ separates punctuation")
print("chrF++     ", seen)
print("chrF       ", plain)
if seen["English ."] != 100 or any(v > 95 for k, v in seen.items() if k != "English .") or set(plain.values()) != {100.0}:
    raise SystemExit("CHANGED: chrF++ now separates other scripts' punctuation")
print("SEEN: how a system spaces its punctuation moves its rank in Hindi, Arabic or Chinese, not in English.")
PY
