#!/usr/bin/env bash
# The lingua detector names another language when the same sentence is in decomposed (NFD) form.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet lingua-language-detector==2.1.1
"$tmp/venv/bin/python" - <<'PY'
import unicodedata
from importlib.metadata import version

from lingua import LanguageDetectorBuilder

detector = LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()
sentences = ["Tôi không biết đường về nhà của tôi", "Příliš žluťoučký kůň úpěl ďábelské ódy", "Ich möchte über die Brücke gehen"]
print("lingua", version("lingua-language-detector"))
print("expected    one language for both forms: Unicode calls them equivalent")
changed = []
for sentence in sentences:
    nfc = detector.detect_language_of(sentence)
    nfd = detector.detect_language_of(unicodedata.normalize("NFD", sentence))
    changed.append(nfc != nfd)
    print("composed", nfc.name, "decomposed", nfd.name if nfd else None, "|", sentence)
if changed != [True, True, False]:
    raise SystemExit("CHANGED: the detector no longer names other languages for decomposed text")
print("SEEN: decomposed text is routed to the wrong language; apply NFC before the detector.")
PY
