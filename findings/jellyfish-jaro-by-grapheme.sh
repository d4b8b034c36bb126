#!/usr/bin/env bash
# jellyfish counts graphemes in Jaro, Jaro-Winkler and Hamming, code points in Levenshtein: two Hindi words that share most of their letters have Jaro-Winkler 0.0, where rapidfuzz says 0.91.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet jellyfish==1.3.0 rapidfuzz==3.14.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import jellyfish
from rapidfuzz.distance import Hamming, JaroWinkler, Levenshtein

pairs = {
    "English": ("martha", "marhta"),
    "Hindi, two spellings of its name": ("हिन्दी", "हिंदी"),
    "Hindi, region and Kshatriya": ("क्षेत्र", "क्षत्रिय"),
    "Hindi, boy and girl": ("लड़का", "लड़की"),
    "Thai, a typing error": ("สวัสดี", "สวัสดิ"),
}
print({name: version(name) for name in ("jellyfish", "rapidfuzz")})
print("expected    the two libraries agree, as they do on Levenshtein and in English")
seen = {}
for name, (one, other) in pairs.items():
    lev = jellyfish.levenshtein_distance(one, other), Levenshtein.distance(one, other)
    jaro = jellyfish.jaro_winkler_similarity(one, other), JaroWinkler.similarity(one, other)
    hamming = jellyfish.hamming_distance(one, other), Hamming.distance(one, other)
    seen[name] = (lev, jaro, hamming)
    print(f"{name:34} Levenshtein {lev}  Jaro-Winkler {jaro[0]:.3f} {jaro[1]:.3f}  Hamming {hamming}")
if any(lev[0] != lev[1] for lev, _, _ in seen.values()) or abs(seen["English"][1][0] - seen["English"][1][1]) > 1e-9:
    raise SystemExit("CHANGED: Levenshtein or English differs")
if any(jaro[0] > jaro[1] - 0.03 for name, (_, jaro, _) in seen.items() if name != "English"):
    raise SystemExit("CHANGED: Jaro-Winkler counts code points")
print("SEEN: a threshold such as 0.85 that finds variants of English names drops those of Hindi. Choose the unit yourself and use one library.")
PY
