#!/usr/bin/env bash
# ranx.fuse: norm="min-max" gives 0 to a run's only hit (or to equal scores), as if it had not been found; norm="max" turns negative scores into -1e9 and less.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet ranx==0.3.21 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from ranx import Run, fuse


def fused(first: dict[str, float], second: dict[str, float], norm: str) -> dict[str, float]:
    done = fuse(runs=[Run({"q": first}), Run({"q": second})], norm=norm, method="sum")
    return {doc: round(score, 3) for doc, score in done.to_dict()["q"].items()}


lexical = {"b": 3.0, "c": 2.0, "d": 1.0}
single = fused({"a": 9.0}, lexical, "min-max")
equal = fused({"a": 9.0, "x": 9.0}, lexical, "min-max")
negative = fused({"a": -0.1, "b": -0.5}, lexical, "max")
ranks = fused({"a": 9.0}, lexical, "rank")
print("ranx", version("ranx"))
print("expected    the only hit of the first run stands near the top; -0.1 and -0.5 stay small numbers")
print("min-max, the first run found only a:  ", single)
print("min-max, it found a and x alike:      ", equal)
print("max, its scores are -0.1 and -0.5:    ", negative)
print("rank, for comparison:                 ", ranks)
if single["a"] != 0 or equal["a"] != 0 or negative["a"] > -1e6 or ranks["a"] != 1:
    raise SystemExit("CHANGED: single, equal and negative scores are now normalised")
print("SEEN: an exact match that only one system finds is ranked last, and log-probabilities or distances bury a whole run.")
PY
