#!/usr/bin/env bash
# Decomposed (NFD) text: SentencePiece composes it, tokenizers with the same character map does not, or loses the tone marks.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2
"$tmp/venv/bin/python" - <<'PY'
import io
import unicodedata

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import normalizers

words = "Hà Nội là thủ đô của Việt Nam. 서울은 한국의 수도이다. தமிழ் மொழி பேசும் மக்கள்.".split()
out = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([" ".join(words)] * 20), model_writer=out, vocab_size=80,
    hard_vocab_limit=False, normalization_rule_name="nmt_nfkc", add_dummy_prefix=False, minloglevel=2,
)  # fmt: skip
processor = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
proto = sentencepiece_model_pb2.ModelProto()
proto.ParseFromString(out.getvalue())
fast = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
print("sentencepiece", sentencepiece.__version__, "tokenizers", tokenizers.__version__)
print("expected    both give the composed word, as the map of both is the same bytes")
composed, same = 0, 0
tests = {"Vietnamese": "Việt", "Korean": "한국", "Tamil": "மொழி"}
for name, word in tests.items():
    text = unicodedata.normalize("NFD", word)
    slow_result = processor.normalize(text).strip("\u2581 ")
    fast_result = fast.normalize_str(text)
    composed += slow_result == word
    same += fast_result == word
    print(f"{name:11s} {len(text)} code points: sentencepiece {slow_result!r} ({len(slow_result)}), tokenizers {ascii(fast_result)} ({len(fast_result)})")
lost = fast.normalize_str(unicodedata.normalize("NFD", "ệ"))
print("one letter  NFD of ệ:", ascii(lost), "in tokenizers")
if composed != len(tests) or same or unicodedata.normalize("NFC", lost) == "ệ":
    raise SystemExit("CHANGED: tokenizers now composes decomposed text like SentencePiece")
print("SEEN: the map is applied to whole grapheme clusters. Apply NFC before an XLM-R-like tokenizer.")
PY
