#!/usr/bin/env bash
# nervaluate takes the end of a span as its last place, although its Prodigy form ends one after it: of two entities that touch (Chinese), a right one is scored as wrong.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet nervaluate==1.2.1
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from nervaluate import Evaluator


def span(start: int, end: int) -> dict[str, object]:
    return {"label": "PER", "start": start, "end": end}


def scores(true: list, predicted: list) -> dict[str, dict[str, int]]:
    overall = Evaluator([true], [predicted], tags=["PER"], loader="dict").evaluate()["overall"]
    return {k: {n: getattr(v, n) for n in ("correct", "incorrect", "partial", "missed", "spurious")} for k, v in overall.items() if k in ("strict", "partial")}


text = "张三李四来了"
cases = {
    "true [2, 4), predicted [2, 4)": ([span(2, 4)], [span(2, 4)]),
    "true [2, 4), predicted [0, 2) and [2, 4)": ([span(2, 4)], [span(0, 2), span(2, 4)]),
    "true [2, 4), predicted [0, 1) and [2, 4)": ([span(2, 4)], [span(0, 1), span(2, 4)]),
    "true [0, 2), predicted [2, 4)": ([span(0, 2)], [span(2, 4)]),
}
print("nervaluate", version("nervaluate"))
print("expected    offsets as Prodigy and spaCy write them: the entity is text[start:end]; [0, 2) and [2, 4) share no character:", text[0:2], text[2:4])
seen = {name: scores(*case) for name, case in cases.items()}
for name, found in seen.items():
    print(f"{name:42} {found}")
alone, touching, apart, neighbour = seen.values()
if (alone["strict"]["correct"], apart["strict"]["correct"]) != (1, 1) or touching["strict"]["correct"] != 0 or neighbour["partial"]["partial"] != 1:
    raise SystemExit("CHANGED: spans that touch share no character")
print("SEEN: the extra entity in front takes the true one, and the entity that is exactly right counts as spurious; subtract 1 from each end.")
PY
