#!/usr/bin/env bash
# opencc and opencc-python-reimplemented both install the module opencc, and one configuration gives two texts: 通过网络 is 通過網路 in one and 透過網路 in the other, 66英哩 keeps its character or loses it.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for package in opencc==1.4.2 opencc-python-reimplemented==0.1.7; do
    "${PYTHON:-python3}" -m venv "$tmp/${package%%==*}"
    "$tmp/${package%%==*}/bin/pip" install --quiet "$package"
done
cat > "$tmp/convert.py" <<'PY'
import json

import opencc

TEXTS = [
    ("s2twp", "我们通过网络支持软件"),
    ("s2twp", "法案在马里兰州通过了"),
    ("s2hk", "林晓峰"),
    ("s2t", "陕西历史博物馆"),
    ("t2s", "66英哩"),
    ("tw2sp", "社群媒體的影像"),
    ("s2t", "我发现头发干了"),
]
print(json.dumps([(config, text, opencc.OpenCC(config).convert(text)) for config, text in TEXTS]))
PY
for package in opencc opencc-python-reimplemented; do
    "$tmp/$package/bin/python" "$tmp/convert.py" > "$tmp/$package.json"
done
"$tmp/opencc/bin/python" - "$tmp" <<'PY'
import json
import sys
from pathlib import Path

first, second = (json.loads((Path(sys.argv[1]) / f"{name}.json").read_text()) for name in ("opencc", "opencc-python-reimplemented"))
print("opencc 1.4.2, opencc-python-reimplemented 0.1.7")
print("expected    the same text: both are named OpenCC, are imported as opencc and take the same configurations")
different = 0
for (config, text, one), (_, _, other) in zip(first, second, strict=True):
    different += one != other
    print(f"{config:6} {text}   {one}   {other}", "" if one == other else "  differs")
if different < 5 or first[-1] != second[-1]:
    raise SystemExit("CHANGED: the two agree more")
print("SEEN: where both are required, the one installed last is used, and prepared Chinese data is another. Name one in the lock file.")
PY
