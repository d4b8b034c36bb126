#!/usr/bin/env bash
# strsimpy: QGram, whose q is 3 by default, finds distance 0 between any two words of one or two characters, as they have no q-grams: 日本 (Japan) and 中国 (China) are equal; Sorensen-Dice of the same pair is a ZeroDivisionError, Jaccard says 0.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet strsimpy==0.2.1
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from strsimpy.jaccard import Jaccard
from strsimpy.levenshtein import Levenshtein
from strsimpy.qgram import QGram
from strsimpy.sorensen_dice import SorensenDice


def similarity(metric, first, second):
    try:
        return metric.similarity(first, second)
    except ZeroDivisionError as error:
        return type(error).__name__


print("strsimpy", version("strsimpy"))
print("expected    0 for equal words alone")
pairs = (("日本", "日本"), ("日本", "中国"), ("猫", "犬"), ("서울", "부산"), ("in", "of"), ("日本語", "中国語"))
distance = {}
for first, second in pairs:
    distance[first, second] = QGram().distance(first, second)
    print(
        first, second, "QGram", distance[first, second], "Levenshtein", Levenshtein().distance(first, second),
        "Jaccard", similarity(Jaccard(3), first, second), "Sorensen-Dice", similarity(SorensenDice(3), first, second),
    )
if distance["日本", "日本"] != 0 or distance["日本語", "中国語"] != 2:
    raise SystemExit("CHANGED: equal or longer words have another distance")
if any(distance[pair] != 0 for pair in pairs[1:5]):
    raise SystemExit("CHANGED: short words differ")
if similarity(SorensenDice(3), "日本", "中国") != "ZeroDivisionError" or similarity(Jaccard(3), "日本", "中国") != 0:
    raise SystemExit("CHANGED: Sorensen-Dice or Jaccard answer otherwise")
print("SEEN: most Chinese and Korean words have two characters: the nearest of a list is whichever short word comes first.")
PY
