#!/usr/bin/env bash
# nmt_nfkc turns the Persian zero-width non-joiner into a blank, so one word becomes two; zero-width joiners stay.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet sentencepiece==0.2.3
"$tmp/venv/bin/python" - <<'PY'
import io

import sentencepiece

text = ["می\u200cخواهم به خانه بروم", "کتاب\u200cها را می\u200cخوانم", "ශ්\u200dරී ලංකා රට"]
print("sentencepiece", sentencepiece.__version__)
print("expected    the normaliser keeps both format characters, or removes both: neither is a blank")
seen = {}
for rule in ("nmt_nfkc", "nfkc"):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 20), model_writer=out, vocab_size=60, hard_vocab_limit=False,
        normalization_rule_name=rule, minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    persian, sinhala = processor.normalize("می\u200cخواهم"), processor.normalize("ශ්\u200dරී")
    alone = processor.encode("\u200c", out_type=str)
    seen[rule] = (persian.count("\u2581"), "\u200d" in sinhala, len(alone))
    print(f"{rule:9s} words made of one Persian word: {seen[rule][0]}; joiner kept: {seen[rule][1]}; pieces of a lone non-joiner: {alone}")
if seen["nmt_nfkc"] != (2, True, 0) or seen["nfkc"][0] != 1:
    raise SystemExit("CHANGED: the non-joiner is no longer a blank in nmt_nfkc")
print("SEEN: nmt_nfkc is the default rule. One labelled Persian word becomes two, and a word of such characters alone has no piece.")
PY
