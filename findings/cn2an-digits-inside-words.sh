#!/usr/bin/env bash
# cn2an: transform, which turns number words of a Chinese sentence into digits, does so inside words: 统一 (unify) is 统1, 唯一 (only) 唯1, 四川 (Sichuan) 4川, 零食 (snack) 0食 and the idiom 半斤八两 0.5斤82.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet cn2an==0.5.24 setuptools==80.9.0
"$tmp/venv/bin/python" - <<'PY'
import warnings
from importlib.metadata import version

import cn2an

warnings.simplefilter("ignore")
print("cn2an", version("cn2an"))
numbers = {"我有一百二十元": "我有120元", "二〇二四年": "2024年", "百分之五": "5%"}
words = {
    "统一": "统1", "唯一": "唯1", "四川": "4川", "三亚": "3亚", "零食": "0食", "一起": "1起", "五星红旗": "5星红旗",
    "半斤八两": "0.5斤82", "十分": "10分", "万岁": "万岁",
}
seen = {}
for text in (*numbers, *words, "我们一起去四川吃零食"):
    seen[text] = cn2an.transform(text)
    print(text, "expected", numbers.get(text, text), "seen", seen[text])
if any(seen[text] != digits for text, digits in numbers.items()):
    raise SystemExit("CHANGED: numbers become other digits")
if any(seen[text] != digits for text, digits in words.items()):
    raise SystemExit("CHANGED: a word is treated otherwise")
print("SEEN: a corpus that is normalised so has words which no tokenizer and no query knows; place names are hit too.")
PY
