#!/usr/bin/env bash
# pycountry: languages.lookup by name tries the codes first: of its own language names 120 give another language; Dan is Danish, Ron is Romanian, Mon is Mongolian.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pycountry==26.2.16
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import pycountry

print("pycountry", version("pycountry"))
print("expected    the name of a language, as the data base spells it, finds that language")
wrong = {}
for language in pycountry.languages:
    found = pycountry.languages.lookup(language.name)
    if found.alpha_3 != language.alpha_3:
        wrong[language.name] = language.alpha_3, found.alpha_3, found.name
for name in ("Dan", "Ron", "Mon", "Ga", "Fas"):
    print(name, wrong.get(name))
print(len(wrong), "of", len(pycountry.languages), "names")
if len(wrong) < 50 or wrong.get("Dan", ("", ""))[1] != "dan" or wrong.get("Mon", ("", ""))[1] != "mon":
    raise SystemExit("CHANGED: a name finds its language")
print("SEEN: a table of language names turns into other languages, without an error. Use languages.get(name=...) for names.")
PY
