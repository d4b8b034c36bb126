#!/usr/bin/env bash
# mteb: get_tasks(languages=[...]) knows no macrolanguages: zho and cmn (Chinese), ara and arb, swa and swh are other sets of tasks with hardly one in common, so a benchmark of one code leaves the other half out.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet mteb==2.26.24
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import mteb

pairs = {
    "Chinese": ("zho", "cmn"),
    "Arabic": ("ara", "arb"),
    "Persian": ("fas", "pes"),
    "Swahili": ("swa", "swh"),
    "Malay": ("msa", "zsm"),
    "Nepali": ("nep", "npi"),
    "Odia": ("ori", "ory"),
    "Latvian": ("lav", "lvs"),
    "German": ("deu", "deu"),
}
print("mteb", version("mteb"))
print("expected    the code of a language finds the tasks that name its standard form, or a warning tells of them")
shared = {}
for name, codes in pairs.items():
    one, other = ({task.metadata.name for task in mteb.get_tasks(languages=[code])} for code in codes)
    shared[name] = (len(one), len(other), len(one & other))
    print(f"{name:8} {codes[0]} {len(one):4} tasks   {codes[1]} {len(other):4} tasks   in both {len(one & other)}")
if not shared["German"][0]:
    raise SystemExit("CHANGED: no task is found by a language")
if any(both > 0.2 * min(one, other) or not one or not other for name, (one, other, both) in shared.items() if name != "German"):
    raise SystemExit("CHANGED: the two codes of a language find the same tasks")
print("SEEN: 'all tasks of Chinese' is half of them, and which half depends on the code. Ask for both codes.")
PY
