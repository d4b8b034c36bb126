#!/usr/bin/env bash
# sacrebleu: references given sentence by sentence (transposed) are not refused; the lists are zipped, the first sentence alone is scored: BLEU 100.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet sacrebleu==2.6.0
"$tmp/venv/bin/python" - <<'PY'
import sacrebleu

hypotheses = ["the cat sat on the mat", "this one is wrong in each word", "and this one too"]
references = ["the cat sat on the mat", "hello there how are you today", "something else again"]
right = {
    "BLEU": sacrebleu.corpus_bleu(hypotheses, [references]).score,
    "chrF": sacrebleu.corpus_chrf(hypotheses, [references]).score,
    "TER": sacrebleu.corpus_ter(hypotheses, [references]).score,
}
transposed = [[reference] for reference in references]  # one list for each sentence, as nltk and evaluate take them
seen = {
    "BLEU": sacrebleu.corpus_bleu(hypotheses, transposed).score,
    "chrF": sacrebleu.corpus_chrf(hypotheses, transposed).score,
    "TER": sacrebleu.corpus_ter(hypotheses, transposed).score,
}
print("sacrebleu", sacrebleu.__version__)
print("expected    an error: 3 hypotheses against 3 reference streams of 1 sentence")
print("transposed ", {k: round(v, 1) for k, v in seen.items()})
print("right order", {k: round(v, 1) for k, v in right.items()})
if [round(v, 3) for v in seen.values()] != [100, 100, 0] or right["BLEU"] > 60:
    raise SystemExit("CHANGED: transposed references are now refused")
print("SEEN: the same silent cut happens when one stream is shorter than the hypotheses (a file that lost its last lines).")
PY
