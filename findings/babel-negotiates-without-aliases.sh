#!/usr/bin/env bash
# babel: Locale.parse knows old and likely codes (iw is he, zh_TW is zh_Hant_TW), Locale.negotiate does not: zh_Hant_TW among zh_TW and zh is Simplified Chinese.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet babel==2.19.0
"$tmp/venv/bin/python" - <<'PY'
import babel

cases = [("tl", ["fil"]), ("iw", ["he"]), ("zh_TW", ["zh_Hant"]), ("zh_Hant_TW", ["zh_TW", "zh"])]
seen = []
for asked, offered in cases:
    parsed, same = babel.Locale.parse(asked), babel.Locale.parse(offered[0])
    chosen = babel.Locale.negotiate([asked], offered)
    seen.append((parsed.language == same.language and parsed.script == same.script, chosen and chosen.get_display_name("en")))
    print(f"{asked:11} is {parsed!s:11} {offered[0]:8} is {same!s:11} offered {offered}: {chosen and chosen.get_display_name('en')}")
print("babel", babel.__version__)
print("expected    negotiate picks the offered locale that parse reads as the same language and script")
if seen != [(True, None), (True, None), (True, None), (True, "Chinese")]:
    raise SystemExit("CHANGED: negotiate now uses the aliases that parse uses")
print("SEEN: a request in Tagalog or Hebrew under its old code finds no model, one in Traditional Chinese gets the Simplified one.")
PY
