#!/usr/bin/env bash
# flash-tokenizer: its BERT tokenizer, uncased, keeps accents that are characters of their own (NFD "é", Hindi and Thai vowel signs) and Korean syllables, where BERT's tokenizers drop or split them; each full-width letter is a word, and [MASK] in a text is cut: other ids, with no error.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet flash-tokenizer==1.2.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

from flash_tokenizer import BertTokenizerFlash
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

texts = {
    "plain": "Hello, World 12",
    "composed": "Caf\u00e9",
    "decomposed": "Cafe\u0301",
    "Hindi": "नमस्ते",
    "Thai": "สวัสดี",
    "Korean": "한국",
    "full width": "ｗｉｄｅ",
    "[MASK]": "a [MASK] b",
}
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
normalizer = normalizers.BertNormalizer(lowercase=True)
letters = {c for t in texts.values() for u in (t.lower(), normalizer.normalize_str(t)) for c in u if not c.isspace()}
vocab = [*special, *sorted(letters), *("##" + c for c in sorted(letters))]
reference = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocab)}, unk_token="[UNK]"))
reference.normalizer, reference.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
reference.add_special_tokens(special)
reference.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "vocab.txt"
    path.write_text("\n".join(vocab) + "\n", encoding="utf-8")
    (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    flash = BertTokenizerFlash(str(path), do_lower_case=True)
    seen = {}
    for name, text in texts.items():
        ids = flash(text, max_length=64).input_ids
        ids = list(ids[0]) if hasattr(ids[0], "__len__") else list(ids)
        seen[name] = [vocab[i] for i in ids if i][1:-1]
expected = {name: reference.encode(text).tokens[1:-1] for name, text in texts.items()}
print("flash-tokenizer", version("flash-tokenizer"), "tokenizers", version("tokenizers"))
for name in texts:
    print(f"{name:10}", "same     " if seen[name] == expected[name] else "different", seen[name], "|", expected[name])
different = {name for name in texts if seen[name] != expected[name]}
if different != {"decomposed", "Hindi", "Thai", "Korean", "full width", "[MASK]"} or seen["decomposed"][-1] != "##\u0301":
    raise SystemExit("CHANGED: flash-tokenizer now normalises as BERT's tokenizers do")
print("SEEN: right for composed Latin text; Hindi, Thai, Korean and decomposed text get other ids than in training.")
PY
