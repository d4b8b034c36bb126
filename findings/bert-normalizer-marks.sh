#!/usr/bin/env bash
# BertNormalizer(lowercase=True): Thai loses its vowels, Hindi half of its vowel signs, Korean syllables become jamo.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import unicodedata

import tokenizers
from tokenizers import normalizers

normalizer = normalizers.BertNormalizer(lowercase=True)
cases = {"Thai": ("ที่นี่", "ทน"), "Telugu": ("తెలుగు", "తలుగు"), "Hindi": ("कुल फूल", "कल फल")}
print("tokenizers", tokenizers.__version__)
print("expected    only Latin, Greek and Cyrillic accents are removed; other scripts stay as they are")
wrong = []
for name, (text, want) in cases.items():
    got = normalizer.normalize_str(text)
    print(f"{name:8s} {text} -> {got}")
    if got != want:
        wrong.append(name)
korean = normalizer.normalize_str("한국어")
print(f"Korean   한국어 -> {len(korean)} code points, recomposed by NFC: {unicodedata.normalize('NFC', korean)}")
if wrong or korean != unicodedata.normalize("NFD", "한국어") or korean == "한국어":
    raise SystemExit(f"CHANGED: marks of other scripts are now kept ({', '.join(wrong) or 'Korean'})")
print("SEEN: strip_accents follows lowercase, takes NFD, drops category Mn and never composes.")
PY
