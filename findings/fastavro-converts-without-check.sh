#!/usr/bin/env bash
# fastavro: a value of another type is converted without a word: 1.7 for int is 1, "false" for boolean is True, 2**31 is written for int, which has 32 bits; in a union with null the same values are refused, and with validator=True. 1e300 for float is infinity in each case.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet fastavro==1.13.1
"$tmp/venv/bin/python" - <<'PY'
import io
from importlib.metadata import version

import fastavro


def stored(kind, value, **options):
    schema = {"type": "record", "name": "row", "fields": [{"name": "value", "type": kind}]}
    file = io.BytesIO()
    try:
        fastavro.writer(file, fastavro.parse_schema(schema), [{"value": value}], **options)
    except Exception as error:
        return type(error).__name__
    file.seek(0)
    return next(fastavro.reader(file))["value"]


print("fastavro", version("fastavro"))
print("expected    an error each, as of a text for int")
cases = (("int", 1.7), ("boolean", "false"), ("float", 1e300), ("int", 2**31))
seen = {}
for kind, value in cases:
    seen[kind, value] = stored(kind, value)
    print(kind, repr(value), "seen", seen[kind, value], "in a union with null", stored(["null", kind], value),
          "validator=True", stored(kind, value, validator=True))
array = stored({"type": "array", "items": "int"}, [0.9, -0.9, 2.7])
print("array of int", [0.9, -0.9, 2.7], "seen", array, "a text for int:", stored("int", "abc"))
if not str(stored("int", "abc")).endswith("Error"):
    raise SystemExit("CHANGED: a text is taken for int")
if any(not str(stored(["null", kind], value)).endswith("Error") for kind, value in (cases[0], cases[1], cases[3])):
    raise SystemExit("CHANGED: the union takes them too")
if [seen[case] for case in cases] != [1, True, float("inf"), 2**31] or seen["boolean", "false"] is not True:
    raise SystemExit("CHANGED: a value is refused or stored otherwise")
if stored("float", 1e300, validator=True) != float("inf"):
    raise SystemExit("CHANGED: the validator refuses a number beyond float32")
if array != [0, 0, 2]:
    raise SystemExit("CHANGED: the array is refused or stored otherwise")
print("SEEN: an embedding written with a schema of ints is cut to zeros, and a flag \"false\" is true; whether it is refused")
print("      depends on whether the field may be null.")
PY
