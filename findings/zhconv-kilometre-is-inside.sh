#!/usr/bin/env bash
# zhconv: 里 becomes the sign for "inside" in words that its table lacks: 五公里 (five kilometres) is 五公裡, 万里长城 (the Great Wall) 萬裡長城; 征 in 征服 becomes 徵; opencc keeps them.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet zhconv==1.4.3 opencc==1.4.2 setuptools==80.9.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import opencc
import zhconv

words = ("五公里", "英里", "邻里", "里程", "万里长城", "征服", "长征", "北斗", "里面", "头发", "发展", "干净")
converter = opencc.OpenCC("s2tw")
print({name: version(name) for name in ("zhconv", "opencc")})
print("expected    the two agree on common words")
wrong = {}
for word in words:
    ours, theirs = zhconv.convert(word, "zh-tw"), converter.convert(word)
    print(word, "zhconv", ours, "opencc", theirs, "" if ours == theirs else "differs")
    if ours != theirs:
        wrong[word] = ours
if any(word in wrong for word in ("里面", "头发", "发展", "干净")):
    raise SystemExit("CHANGED: the ordinary cases differ too")
if wrong.get("五公里") != "五公裡" or wrong.get("万里长城") != "萬裡長城":
    raise SystemExit("CHANGED: a distance keeps its sign")
print("SEEN: units and names get a wrong sign, so that no traditional tokenizer, search or dictionary knows them.")
PY
