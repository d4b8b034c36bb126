#!/usr/bin/env bash
# kserve and tritonclient.grpc cannot be imported in one process: both register the protobuf message inference.ServerLiveRequest.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet kserve==0.21.0 tritonclient[grpc,http]==2.73.0
"$tmp/venv/bin/python" - <<'PY'
import subprocess
import sys
from importlib.metadata import version


def imports(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return "fine" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


seen = {
    "import kserve": imports("import kserve"),
    "import tritonclient.grpc": imports("import tritonclient.grpc"),
    "import kserve, tritonclient.http": imports("import kserve, tritonclient.http"),
    "import kserve, tritonclient.grpc": imports("import kserve, tritonclient.grpc"),
    "import tritonclient.grpc, kserve": imports("import tritonclient.grpc, kserve"),
}
print({name: version(name) for name in ("kserve", "tritonclient", "protobuf")})
print("expected    fine in each order: kserve's predictors are often Triton servers")
for code, answer in seen.items():
    print(f"{code:34}", answer[:120])
if list(seen.values())[:3] != ["fine"] * 3 or any("duplicate symbol" not in v for v in list(seen.values())[3:]):
    raise SystemExit("CHANGED: the two can now be imported together")
print("SEEN: a transformer that calls Triton over gRPC fails at its import; the HTTP client works, or a process of its own.")
PY
