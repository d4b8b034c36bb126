#!/usr/bin/env bash
# huggingface_hub: at a hub that refuses connections snapshot_download tries once, list_repo_files six times and hf_hub_download seven times, with 23 seconds of waits between.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet huggingface_hub==2.4.0
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
from unittest import mock

home = tempfile.TemporaryDirectory()
os.environ.update(HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=home.name, HF_HUB_DISABLE_TELEMETRY="1")
import huggingface_hub

attempts, waits = 0, 0.0


def refuse(*_: object, **__: object) -> None:
    global attempts
    attempts += 1
    raise ConnectionRefusedError(111, "Connection refused")


def wait(seconds: float) -> None:
    global waits
    waits += seconds


seen = {}
calls = {
    "snapshot_download": lambda: huggingface_hub.snapshot_download("a/b"),
    "model_info": lambda: huggingface_hub.HfApi().model_info("a/b"),
    "list_repo_files": lambda: huggingface_hub.list_repo_files("a/b"),
    "hf_hub_download": lambda: huggingface_hub.hf_hub_download("a/b", "config.json"),
}
with mock.patch("socket.create_connection", refuse), mock.patch("time.sleep", wait):
    for name, call in calls.items():
        attempts, waits = 0, 0.0
        try:
            call()
        except Exception as error:
            seen[name] = (attempts, waits, type(error).__name__)
home.cleanup()
print("huggingface_hub", huggingface_hub.__version__)
print("expected    one client, one rule: each call tries equally often")
for name, (count, seconds, error) in seen.items():
    print(f"{name:18} {count} attempts, waits of {seconds:.0f} s, {error}")
if seen["snapshot_download"][0] != 1 or seen["list_repo_files"][0] < 3 or seen["hf_hub_download"][0] < 3:
    raise SystemExit("CHANGED: the calls try equally often")
print("SEEN: without a network a loader that fetches a file at a time stands still for 23 s at each, one that takes the snapshot does not.")
PY
