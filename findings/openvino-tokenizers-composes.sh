#!/usr/bin/env bash
# A Unigram tokenizer converted to OpenVINO composes decomposed text (NFD) and drops a closing blank, as SentencePiece does; the tokenizers library that it came from does neither.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet openvino-tokenizers==2026.4.1.0 openvino==2026.4.1 transformers==5.23.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
import unicodedata
from importlib.metadata import version

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import openvino
import sentencepiece
from openvino_tokenizers import convert_tokenizer
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

texts = {"NFC": "한국어 학교", "NFD": unicodedata.normalize("NFD", "한국어 학교"), "half-width": "ｶﾞﾗｽ", "closing blank": "한국어 "}
with tempfile.TemporaryDirectory() as folder:
    corpus, prefix = os.path.join(folder, "c.txt"), os.path.join(folder, "m")
    with open(corpus, "w", encoding="utf-8") as file:
        file.write("\n".join(["한국어 학교", "ガラス", "학교 한국어 ガラス"] * 20))
    options = {"vocab_size": 40, "hard_vocab_limit": False, "character_coverage": 1.0, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(input=corpus, model_prefix=prefix, **options)
    spm = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    proto = sentencepiece_model_pb2.ModelProto()
    with open(prefix + ".model", "rb") as file:
        proto.ParseFromString(file.read())
tokenizer = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], unk_id=0))
charsmap = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
tokenizer.normalizer = normalizers.Sequence([charsmap, normalizers.Replace(Regex(" {2,}"), " ")])
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # the layout of XLM-R's tokenizer.json
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="</s>")
compiled = openvino.Core().compile_model(convert_tokenizer(fast), "CPU")
seen = {}
for name, text in texts.items():
    seen[name] = (fast(text)["input_ids"], compiled([text])["input_ids"][0].tolist(), spm.encode(text))
print({name: version(name) for name in ("openvino-tokenizers", "transformers", "tokenizers", "sentencepiece")})
print("expected    the ids of the tokenizer that was converted")
for name, (before, after, right) in seen.items():
    print(f"{name:14} transformers {before}  openvino {after}  sentencepiece {right}")
if seen["NFC"][0] != seen["NFC"][1] or any(seen[name][0] == seen[name][1] or seen[name][1] != seen[name][2] for name in ("NFD", "half-width", "closing blank")):
    raise SystemExit("CHANGED: the conversion now keeps what tokenizers does")
print("SEEN: an index built with one and queried through the other misses Korean and Japanese texts; the converted one is the better.")
PY
