#!/usr/bin/env bash
# pytrec_eval (and ir_measures) order equal scores by the document's name, backwards, and compare in float32; ranx keeps the run's order.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pytrec-eval-terrier==0.5.11 ir-measures==0.4.3 ranx==0.3.21 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import ir_measures
import pytrec_eval
from ranx import Qrels, Run, evaluate


def scores(right: str, run: dict[str, float]) -> dict[str, float]:
    qrels, runs = {"q": {right: 1}}, {"q": run}
    trec = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(runs)["q"]["recip_rank"]
    ir = ir_measures.calc_aggregate([ir_measures.RR], qrels, runs)[ir_measures.RR]
    return {"pytrec_eval": round(trec, 3), "ir_measures": round(float(ir), 3), "ranx": round(float(evaluate(Qrels(qrels), Run(runs), "mrr")), 3)}


equal = scores("a", {"a": 0.5, "b": 0.5, "c": 0.5})
renamed = scores("z", {"z": 0.5, "b": 0.5, "c": 0.5})
near = scores("b", {"a": 0.1 + 1e-9, "b": 0.1, "c": 0.05})
print({name: version(name) for name in ("pytrec-eval-terrier", "ir-measures", "ranx")})
print("expected    a name has no influence on MRR, and 0.1 + 1e-9 comes before 0.1")
print("three equal scores, right document first, named 'a':", equal)
print("the same, the document renamed to 'z':              ", renamed)
print("right document second by 1e-9:                      ", near)
if equal["pytrec_eval"] != 0.333 or renamed["pytrec_eval"] != 1 or equal["ranx"] != 1 or near["pytrec_eval"] != 1 or near["ranx"] != 0.5:
    raise SystemExit("CHANGED: the three now agree on equal scores")
print("SEEN: INT8 and binary scores tie often; the same run has another MRR in each tool, and another after new ids.")
PY
