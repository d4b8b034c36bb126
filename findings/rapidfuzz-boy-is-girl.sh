#!/usr/bin/env bash
# rapidfuzz: utils.default_process makes blanks of vowel and tone signs: Hindi लड़का (boy) and लड़की (girl) match to 100, as Bengali মামা (uncle) and মামী (aunt) do.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet rapidfuzz==3.14.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from rapidfuzz import fuzz, utils

pairs = {
    "Hindi, boy and girl": ("लड़का", "लड़की"),
    "Bengali, uncle and aunt": ("মামা", "মামী"),
    "Tamil, nail and man": ("ஆணி", "ஆண்"),
    "German, teacher (he) and (she)": ("Lehrer", "Lehrerin"),
}
print("rapidfuzz", version("rapidfuzz"))
print("expected    default_process takes out punctuation and lowers: words of other letters stay different")
seen = {}
for name, (one, two) in pairs.items():
    seen[name] = (fuzz.ratio(one, two), fuzz.ratio(one, two, processor=utils.default_process))
    print(f"{name:30} {one!r} {two!r}: ratio {seen[name][0]:.0f}, with default_process {seen[name][1]:.0f} ({utils.default_process(one)!r})")
*marked, german = seen.values()
if any(plain == 100 or processed != 100 for plain, processed in marked) or german[1] == 100:
    raise SystemExit("CHANGED: vowel signs are kept")
print("SEEN: de-duplication with it removes other words; use a processor of your own that takes out the categories P and S alone.")
PY
