#!/usr/bin/env bash
# rank_bm25: in a small collection BM25Okapi gives words of most documents a negative weight (their floor is a part of the mean, which is negative too): documents with the word rank below one without it; of two documents a word of one alone scores 0 in both.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet rank-bm25==0.2.2 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from rank_bm25 import BM25Okapi, BM25Plus

print("rank-bm25", version("rank-bm25"))
print("expected    a document with the word is not below one without it; a word of one document alone finds it")
common = [["model", "tokens"]] * 4 + [["words"]]
pair = [["model", "tokens"], ["words", "letters"]]
seen = {}
for kind in (BM25Okapi, BM25Plus):
    index = kind(common)
    print(kind.__name__, "five documents, weights", {word: round(float(weight), 3) for word, weight in index.idf.items()})
    seen[kind, "common"] = index.get_scores(["model"]).tolist()
    seen[kind, "pair"] = kind(pair).get_scores(["model"]).tolist()
    print(f"{'':10} scores of 'model' for {common}:", [round(score, 3) for score in seen[kind, "common"]])
    print(f"{'':10} scores of 'model' for {pair}:", [round(score, 3) for score in seen[kind, "pair"]])
okapi = seen[BM25Okapi, "common"]
if not (max(okapi[:4]) < 0 == okapi[4]):
    raise SystemExit("CHANGED: the document without the word is not above those that hold it")
if seen[BM25Okapi, "pair"] != [0, 0] or not seen[BM25Plus, "pair"][0] > seen[BM25Plus, "pair"][1]:
    raise SystemExit("CHANGED: the scores of two documents are otherwise")
print("SEEN: the ranking is upside down, or has no order. Use BM25Plus or BM25L, or weights of a larger collection, for a few candidates.")
PY
